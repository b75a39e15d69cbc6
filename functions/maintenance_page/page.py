"""The page that people see during maintenance: Japanese or English, light or dark, nothing loaded from elsewhere."""

from string import Template

from window import Window

LANGUAGES = ("en", "ja")
# With the page's own style and nothing else: no script, no image, no frame.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_TEXTS = {
    "en": {
        "title": "Down for maintenance",
        "lead": "$service is unavailable for a short while. We are sorry for the inconvenience.",
        "back": "We expect to be back",
        "later": "Please come back a little later. Nothing else is needed on your side.",
        "about": "What we are doing",
    },
    "ja": {
        "title": "ただいまメンテナンス中です",
        "lead": "$service は、メンテナンスのため一時的にご利用いただけません。ご不便をおかけして申し訳ございません。",
        "back": "終了予定",
        "later": "しばらくしてから、もう一度アクセスしてください。",
        "about": "メンテナンスの内容",
    },
}

_PAGE = Template("""<!doctype html>
<html lang="$language">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>$title - $service</title>
<style>
:root { color-scheme: light dark; --ground: #f5f3ee; --ink: #23282d; --soft: #565d63; --line: #d9d4c8; --mark: #2f6f62 }
@media (prefers-color-scheme: dark) {
  :root { --ground: #15191c; --ink: #e9e7e1; --soft: #a9afb3; --line: #343b40; --mark: #7cc4b3 }
}
* { box-sizing: border-box; margin: 0 }
body {
  min-height: 100vh; min-height: 100svh; display: grid; place-items: center; padding: 2.5rem 1.5rem;
  background: var(--ground); color: var(--ink); line-height: 1.75; overflow-wrap: anywhere;
  font-family: system-ui, -apple-system, "Hiragino Sans", "Yu Gothic UI", "Noto Sans JP", "Noto Sans CJK JP", sans-serif
}
main { width: 100%; max-width: 36rem }
.service { color: var(--mark); font-weight: 600; letter-spacing: .04em }
h1 {
  margin: .5rem 0 1.25rem;
  font-size: clamp(1.6rem, 1.2rem + 2.2vw, 2.4rem); line-height: 1.3; word-break: auto-phrase
}
.lead { color: var(--soft); font-size: 1.0625rem }
dl { margin-top: 2.25rem; border-top: 1px solid var(--line) }
dl div { padding: 1.1rem 0; border-bottom: 1px solid var(--line) }
dt { color: var(--soft); font-size: .875rem }
dd { font-size: 1.0625rem }
time { font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums }
.later { margin-top: 2.25rem; color: var(--soft) }
</style>
</head>
<body>
<main>
<p class="service">$service</p>
<h1>$title</h1>
<p class="lead">$lead</p>
$facts
<p class="later">$later</p>
</main>
</body>
</html>
""")


def render(language: str, service: str, shown: Window | None) -> str:
    """Return the page in a language."""
    texts, service = _TEXTS[language], _escape(service)
    facts = ""
    if shown and shown.ends is not None:
        end = f'<time datetime="{_escape(shown.until)}">{_escape(shown.words[language])}</time>'
        facts += f"<div><dt>{texts['back']}</dt><dd>{end}</dd></div>\n"
    if shown and shown.reason:
        facts += f'<div><dt>{texts["about"]}</dt><dd dir="auto">{_escape(shown.reason)}</dd></div>\n'
    return _PAGE.substitute(
        language=language,
        service=service,
        title=texts["title"],
        lead=Template(texts["lead"]).substitute(service=service),
        facts=f"<dl>\n{facts}</dl>" if facts else "",
        later=texts["later"],
    )


def _escape(text: str) -> str:
    """Return the text with everything that HTML would read as its own, also inside an attribute."""
    # As html.escape does, whose module brings a table of all entities along.
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;")):
        text = text.replace(sign, entity)
    return text
