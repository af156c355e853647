"""Headless Chromium on a page: what a script finds in it, with errors and requests of the page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from html import unescape
from pathlib import Path
from typing import Any

import pytest

#: Nothing but what stands in the page itself may load; a violation is an error.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_BEFORE = f"""<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><script>
const found = [];
addEventListener("error", event => found.push("error: " + (event.message || event.target.outerHTML)), true);
addEventListener("unhandledrejection", event => found.push("rejection: " + event.reason));
document.addEventListener("securitypolicyviolation", event => found.push("request: " + event.blockedURI));
console.error = (...words) => found.push("console: " + words.join(" "));
</script>"""
_AFTER = """<script>addEventListener("load", () => {
  let value;
  try { value = (() => { %s })(); } catch (error) { found.push("test: " + error); }
  const requests = performance.getEntriesByType("resource").map(each => each.name);
  const element = document.createElement("pre");
  element.id = "browser-found";
  element.textContent = JSON.stringify({value, found, requests: requests.filter(name => !name.startsWith("data:"))});
  document.body.replaceChildren(element);
});</script>"""


def chromium() -> str:
    """Its path, or the test is skipped."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("chromium is missing: apt-get install chromium")
    return path


def run_in_browser(page: str, script: str, *, width: int = 1280) -> Any:
    """What the body `script` returns in the loaded page; no error, no message, no request may have come up."""
    assert page.count("<head>") == page.count("</body>") == 1
    page = page.replace("<head>", f"<head>{_BEFORE}").replace("</body>", f"{_AFTER % script}</body>")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(page, encoding="utf-8")
        command = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]
        command += [f"--user-data-dir={folder}/profile", f"--window-size={width},900", path.as_uri()]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    text = re.search(r'<pre id="browser-found">(.*?)</pre>', dom, re.DOTALL)
    assert text is not None, dom[:2000]
    result = json.loads(unescape(text[1]))
    assert result["found"] == []
    assert result["requests"] == []
    return result["value"]
