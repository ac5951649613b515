"""A headless Chromium."""
import shutil

import pytest

CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')
QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
         '--disable-background-networking', '--disable-component-update']


@pytest.fixture(scope='session')
def browser():
    if CHROMIUM is None:
        pytest.fail('no Chromium on this machine: apt-get install chromium')
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()
