import pytest
from pages import TOKEN


@pytest.fixture
def stranger(server):
    server.cookies.clear()
    return server


def test_without_the_token_nothing_is_served(stranger):
    for path in ("/", "/page/style.css", "/api/start", "/api/events", "/?token=wrong", "/?token="):
        response = stranger.get(path)
        assert response.status_code == 403
        assert "set-cookie" not in response.headers


def test_the_token_is_replaced_by_a_cookie_that_scripts_cannot_read(stranger):
    cookie = stranger.get("/", params={"token": TOKEN}).headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
    assert stranger.get("/api/start").status_code == 200


def test_an_invented_cookie_is_no_session(stranger):
    stranger.cookies.set("stylecore", "x" * 43)
    assert stranger.get("/api/start").status_code == 403


@pytest.mark.parametrize(
    "host", ["example.com", "127.0.0.1.example.com", "127.0.0.1:81", "", "127.0.0.1:x", "10.0.0.1"]
)
def test_foreign_hosts(page, host):
    assert page.get("/api/start", headers={"host": host}).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "http://example.com"},
        {"origin": "null"},
        {"x-stylecore": ""},
    ],
)
def test_requests_of_other_pages(page, headers):
    assert page.client.post("/api/samples/painting", headers=headers).status_code == 403


def test_requests_of_the_page_itself(page):
    headers = {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1"}
    assert page.client.post("/api/samples/painting", headers=headers).status_code == 200


def test_every_response_has_the_policy(page):
    for path in ("/", "/api/start", "/nothing", "/page/main.js"):
        policy = page.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert page.get(path).headers["x-content-type-options"] == "nosniff"
    assert page.get("/", headers={"host": "example.com"}).headers["x-frame-options"] == "DENY"


def test_the_html_has_no_inline_script_or_style(page):
    html = page.get("/").text
    assert "<style" not in html and " style=" not in html and "onclick" not in html
    assert html.count("<script") == html.count('<script type="module" src="page/main.js"></script>') == 1
