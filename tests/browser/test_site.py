"""The pages as a site: built without a warning, no link leads nowhere, read in a real browser."""
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

REPO = Path(__file__).parents[2]
pytestmark = pytest.mark.browser


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """What `make docs` builds."""
    folder = tmp_path_factory.mktemp('site')
    command = re.search(r'^docs: env\n\t\$\(RUN\) (.*)$', (REPO / 'Makefile').read_text(), re.M)[1]
    arguments = command.replace('work_dirs/site', str(folder)).split()
    done = subprocess.run([sys.executable, *arguments], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


class Links(HTMLParser):
    """What a page refers to, and the places on it that can be referred to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets, self.places = [], set()
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ('href', 'src') and value is not None:
                self.targets.append(value)
            if name in ('id', 'name') and value:
                self.places.add(value)


def test_no_link_leads_nowhere(site):
    pages = {page: Links(page) for page in site.rglob('*.html')}
    assert len(pages) > 20
    dead, count = [], 0
    for page, links in pages.items():
        for target in links.targets:
            path, _, place = unquote(target).partition('#')
            if re.match(r'(https?|mailto|data):', path):
                continue
            file = (page.parent / path.split('?')[0]).resolve() if path else page
            count += 1
            if not file.exists() or (place and file in pages and place not in pages[file].places):
                dead.append(f'{page.relative_to(site)}: {target}')
    assert count > 1000 and not dead, dead[:20]


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [360, 1280])
def test_the_front_page(site, browser, width, scheme):
    """It fits, says what to do, and leads to the method's page, in both schemes."""
    context = browser.new_context(viewport=dict(width=width, height=800), color_scheme=scheme,
                                  offline=True)
    page, errors = context.new_page(), []
    page.on('pageerror', lambda error: errors.append(error))
    page.goto((site / 'index.html').as_uri())
    page.wait_for_url('**/docs/index.html')
    assert page.inner_text('h1').startswith('mmdistill_ext')
    assert 'My model is' in page.inner_text('body')
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    red, green, blue = map(int, re.findall(r'\d+', page.evaluate(
        'getComputedStyle(document.body).backgroundColor'))[:3])
    assert (min(red, green, blue) > 200) == (scheme == 'light')
    page.click('article >> text=Channel MLP >> nth=0')
    page.wait_for_url('**/mlp.html')
    assert not errors
    context.close()


def test_search_finds_a_class(site, browser):
    page = browser.new_page()
    page.goto((site / 'search.html').as_uri() + '?q=FCFDDistill')
    page.wait_for_selector('ul.search li a')
    assert 'reference.html' in ' '.join(
        link.get_attribute('href') for link in page.query_selector_all('ul.search li a'))
    page.close()
