"""The report in a real browser: nothing fails, all is seen, tables sort, in both schemes."""
import re

import numpy as np
import pytest
from matplotlib.image import imsave

from mmdistill_ext.analysis import report, report_page
from mmdistill_ext.analysis.report_page import Section
from mmdistill_ext.analysis.tables import Table
from tests.analysis.test_run_folders import write

pytestmark = pytest.mark.browser
MIXED = Table(['run', 'value', 'gain'], [
    ['b_4', 81.5, '+5.5'], ['teacher', 9., ''], ['10 nets', '1,234', '-0.5'],
    ['<a & b>', '70.5 ± 12', '+12.0'], ['a', None, '+0.1']])
SIZES = dict(phone=(360, 740), screen=(1280, 900))


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    """What tools/report.py makes of three runs with pictures, and a table of all sorts of cells."""
    folder = tmp_path_factory.mktemp('report') / 'demo'
    write(folder / 'a_student_with_a_very_long_name_that_does_not_fit_anywhere', values=(1., 30.5))
    write(folder / 'kd/seed-0', values=(20., 40.))
    write(folder / 'kd/seed-1', values=(20., 42.))
    (folder / 'kd/analysis').mkdir()
    for name, shape in (('kd/analysis/wide', (60, 2000, 3)), ('predictions', (300, 200, 3))):
        imsave(folder / f'{name}.png', np.random.default_rng(0).random(shape))
    (folder / 'kd/analysis/wide.csv').write_text('place,distance\nx,0.5\ny,\n')
    sections = [*report.sections([folder]), Section('All sorts of cells', '', MIXED)]
    path = folder / 'report.html'
    path.write_text(report_page.render('A <title> & more', sections))
    return path


@pytest.fixture(params=[(size, scheme) for size in SIZES for scheme in ('light', 'dark')],
                ids='-'.join)
def page(request, browser, file):
    """The page in one size and one colour scheme; what goes wrong in it fails the test."""
    size, scheme = request.param
    width, height = SIZES[size]
    context = browser.new_context(viewport=dict(width=width, height=height), color_scheme=scheme,
                                  offline=True)
    page = context.new_page()
    page.said, page.asked = [], []
    page.on('console', lambda message: page.said.append(message.text))
    page.on('pageerror', lambda error: page.said.append(str(error)))
    page.on('request', lambda asked: page.asked.append(asked.url))
    page.goto(file.as_uri())
    yield page
    assert page.said == []
    assert {url.split(':')[0] for url in page.asked} <= {'file', 'data'}
    context.close()


def test_everything_is_seen(page):
    assert page.title() == page.locator('h1').inner_text() == 'A <title> & more'
    widths = page.eval_on_selector_all(
        'img', 'all => all.map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width])')
    assert [width for _, width, _ in widths] == [200, 2000]
    assert all(complete and shown > 100 for complete, _, shown in widths)
    assert page.locator('figure > svg polyline').count() == 2
    assert page.locator('figure > svg circle').count() == 4
    heights = page.eval_on_selector_all(
        'figure > svg text', 'all => all.map(t => t.getBoundingClientRect().height)')
    assert len(heights) > 8 and min(heights) >= 10
    assert page.locator('td', has_text='<a & b>').count() == 1


def test_nothing_sticks_out(page):
    page.click('.picture >> nth=1')  # in its full size it scrolls, and the page does not
    wide = page.locator('.picture').nth(1)
    assert wide.evaluate('box => box.scrollWidth') >= 2000
    assert page.evaluate('document.documentElement.scrollWidth') == page.viewport_size['width']
    outside = page.evaluate('''() => [...document.querySelectorAll('h1,h2,p,svg,li,figcaption')]
        .filter(e => e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML)''')
    assert outside == []
    page.click('.picture >> nth=1')
    assert wide.evaluate('box => box.scrollWidth') <= page.viewport_size['width']


def luminance(colour):
    red, green, blue = (int(x) / 255 for x in re.findall(r'\d+', colour)[:3])
    parts = [x / 12.92 if x <= .04045 else ((x + .055) / 1.055)**2.4 for x in (red, green, blue)]
    return .2126 * parts[0] + .7152 * parts[1] + .0722 * parts[2]


def contrast(one, other):
    """WCAG's ratio."""
    one, other = sorted((luminance(one), luminance(other)), reverse=True)
    return (one + .05) / (other + .05)


def test_it_can_be_read_in_its_scheme(page):
    background = page.evaluate('getComputedStyle(document.body).backgroundColor')
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (luminance(background) < .05) if dark else (luminance(background) > .9)
    for selector, name, least in (
            ('p', 'color', 4.5), ('td', 'color', 4.5), ('figcaption', 'color', 4.5),
            ('figure > svg text', 'fill', 4.5), ('figure > svg polyline', 'stroke', 3)):
        colours = page.eval_on_selector_all(
            selector, f'all => [...new Set(all.map(e => getComputedStyle(e).{name}))]')
        assert colours and all(contrast(colour, background) >= least for colour in colours)
    head = page.locator('th').first
    assert contrast(head.evaluate('e => getComputedStyle(e).color'),
                    head.evaluate('e => getComputedStyle(e).backgroundColor')) >= 4.5
    names = page.evaluate('[0,1,2,3,4,5,6,7].map(i => getComputedStyle('
                          'document.documentElement).getPropertyValue(`--line-${i}`))')
    assert len(set(names)) == 8
    for name in names:
        colour = ' '.join(str(int(name[i:i + 2], 16)) for i in (1, 3, 5))
        assert contrast(colour, background) >= 3, name


def cells(table, column):
    return table.locator(f'tbody td:nth-child({column})').all_inner_texts()


def test_tables_sort(page):
    table = page.locator('table').last
    heads = table.locator('th')
    heads.nth(1).click()  # numbers: best first, what is missing last
    assert cells(table, 2) == ['1,234', '81.5', '70.5 ± 12', '9', '–']
    assert heads.nth(1).get_attribute('aria-sort') == 'descending'
    heads.nth(1).click()
    assert cells(table, 2) == ['9', '70.5 ± 12', '81.5', '1,234', '–']
    heads.nth(2).click()
    assert cells(table, 3) == ['+12.0', '+5.5', '+0.1', '-0.5', '']
    assert heads.nth(1).get_attribute('aria-sort') is None
    heads.nth(0).locator('button').focus()
    page.keyboard.press('Enter')
    assert cells(table, 1) == ['<a & b>', '10 nets', 'a', 'b_4', 'teacher']
    assert cells(table, 2) == ['70.5 ± 12', '1,234', '–', '81.5', '9']  # rows stay whole
    first = page.locator('table').first
    before = cells(first, 1)
    first.locator('th').nth(1).click()
    assert sorted(cells(first, 1)) == sorted(before) and cells(first, 2)[0].startswith('41')
