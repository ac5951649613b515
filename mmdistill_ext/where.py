"""Where configs and tools are."""
from pathlib import Path

PACKAGE = Path(__file__).parent
# A wheel carries them in the package, where openmim looks; in a clone they are beside it.
HOME = PACKAGE / '.mim' if (PACKAGE / '.mim').is_dir() else PACKAGE.parent
