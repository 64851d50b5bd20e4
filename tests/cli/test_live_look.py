"""What each key does to the live view, without a terminal and without a cluster."""

from __future__ import annotations

from gfs_ha.cli.live import keys
from gfs_ha.cli.live.frame import draw
from gfs_ha.cli.live.look import AGAIN, CHUNKS, MASTERS, NOTHING, QUIT, REDRAW, SERVERS, Look
from gfs_ha.cli.live.page import Item, Page
from gfs_ha.cli.live.sight import CHUNK, FILE, JOB, SERVER, Looked, Sight
from gfs_ha.cli.live.spans import CHOSEN, plain
from gfs_ha.protocol.live import SORTS, GetLive
from gfs_ha.sim.live_scene import LiveScene

ROWS = 10


def page_of(count: int) -> Page:
    return Page(items=[Item(((f"row {at}", ""),), (SERVER, f"cs{at}")) for at in range(count)])


def press(look: Look, page: Page, *pressed: str) -> list[str]:
    return [look.press(key, page, ROWS) for key in pressed]


def test_the_choice_moves_and_the_page_with_it() -> None:
    look, page = Look(), page_of(35)
    press(look, page, keys.DOWN, "j", keys.UP)
    assert (look.place.chosen, look.place.top) == (1, 0)
    press(look, page, keys.PAGE_DOWN)
    assert (look.place.chosen, look.place.top) == (10, 1)
    press(look, page, keys.END)
    assert (look.place.chosen, look.place.top) == (34, 25)
    press(look, page, keys.DOWN, keys.HOME, keys.UP)
    assert (look.place.chosen, look.place.top) == (0, 0)


def test_enter_opens_and_escape_goes_back_to_where_one_was() -> None:
    look, page = Look(), page_of(35)
    press(look, page, keys.DOWN, keys.DOWN, keys.ENTER)
    assert look.target == (SERVER, "cs2")
    chunk = Page(items=[Item((("chunk", ""),), (CHUNK, 77))])
    press(look, chunk, keys.ENTER)
    assert look.stack == [(SERVER, "cs2"), (CHUNK, 77)]
    assert press(look, chunk, keys.ESCAPE, keys.ESCAPE) == [AGAIN, AGAIN]
    assert look.target is None and look.place.chosen == 2
    assert press(look, page, keys.ESCAPE) == [NOTHING]


def test_nothing_opens_where_nothing_is() -> None:
    look = Look()
    assert press(look, Page(), keys.ENTER) == [NOTHING]
    assert look.target is None and "nothing" in look.said
    press(look, Page(items=[Item((("a title", ""),))]), keys.ENTER)
    assert look.target is None


def test_servers_are_sorted_by_each_column_and_back() -> None:
    look, page = Look(), page_of(3)
    for wanted in (*SORTS[1:], SORTS[0]):
        press(look, page, "s")
        assert look.request(ROWS).sort == wanted
    press(look, page, "S", "r")
    request = look.request(ROWS)
    assert (request.sort, request.reverse) == (SORTS[-1], True)
    press(look, page, keys.TAB, "s")
    assert look.tab_name == MASTERS and "only servers" in look.said


def test_a_filter_holds_while_it_is_typed_and_escape_takes_it_back() -> None:
    look, page = Look(), page_of(3)
    assert press(look, page, "/", "c", "q", keys.BACKSPACE, "s") == [NOTHING, *[AGAIN] * 4]
    assert look.request(ROWS).wanted == "cs"
    press(look, page, keys.ENTER)
    assert look.prompt is None and look.wanted == "cs"
    press(look, page, "/", "x", keys.ESCAPE)
    assert look.wanted == "cs"
    press(look, page, keys.ESCAPE)
    assert look.wanted == ""


def test_what_a_person_names_is_opened() -> None:
    look, page = Look(), page_of(3)
    for text, target in (
        ("/a/b c", (FILE, "/a/b c")),
        ("0x1000000000004", (CHUNK, 0x1000000000004)),
        ("r-19", (JOB, "r-19")),
        ("cs07", (SERVER, "cs07")),
    ):
        press(look, page, ":", *text, keys.ENTER)
        assert look.target == target
    press(look, page, ":", *"0xzz", keys.ENTER)
    assert look.target == (SERVER, "cs07") and "no id" in look.said


def test_tabs_pause_help_and_pace() -> None:
    look, page = Look(), page_of(3)
    assert press(look, page, "3", keys.BACK_TAB, keys.BACK_TAB, keys.LEFT)[0] == AGAIN
    assert look.tab == 5
    press(look, page, keys.RIGHT, " ", "-", "-")
    assert look.tab_name == SERVERS and look.paused and look.period_s == 5.0
    press(look, page, "+", " ", "?")
    assert look.period_s == 2.0 and not look.paused and look.help
    assert press(look, page, "x") == [NOTHING] and not look.help
    assert press(look, page, keys.REDRAW, "?", "q") == [REDRAW, NOTHING, QUIT]
    assert press(Look(), page, "q") == [QUIT]


def test_only_servers_near_the_screen_are_asked_for_however_many_there_are() -> None:
    scene, look, sight = LiveScene(1000), Look(), Sight()
    request = look.request(ROWS)
    assert (request.offset, request.limit) == (0, 3 * ROWS)

    def see() -> Page:
        asked = look.request(ROWS)
        report = scene.report(asked)
        sight.take(Looked(scene.now_s, report, first=asked.offset))
        return draw(look, sight, (120, 32), (scene.now_s, "12:00:00")).page

    page = see()
    assert page.total == 1000
    look.press(keys.END, page, ROWS)
    page = see()
    item = page.item(999)
    assert item is not None and item.target == (SERVER, "cs1000")
    assert look.request(500).limit == 250


def test_the_chosen_row_is_marked_and_what_has_not_come_yet_is_told() -> None:
    scene, look, sight = LiveScene(200), Look(), Sight()
    asked = GetLive(limit=20)
    sight.take(Looked(scene.now_s, scene.report(asked)))
    look.place.chosen = 100
    frame = draw(look, sight, (100, 30), (scene.now_s, "12:00:00"))
    assert any(plain(line) == "…" for line in frame.lines)
    assert sum(any(style == CHOSEN for _, style in line) for line in frame.lines) == 2  # And a tab.


def test_each_tab_and_page_asks_for_what_it_shows() -> None:
    look = Look(tab=2)
    assert look.tab_name == CHUNKS and look.request(ROWS).limit == 0
    look.stack.append((SERVER, "cs3"))
    assert look.request(ROWS).wanted == "cs3"
