"""The root of the repository, where configs and tools are."""
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
