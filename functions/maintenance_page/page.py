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
        "later": "Please try again a little later.",
        "about": "What we are doing",
    },
    "ja": {
        "title": "メンテナンス中です",
        "lead": "$service は現在ご利用いただけません。ご不便をおかけして申し訳ございません。",
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
:root { color-scheme: light dark; --ground: #f6f4ef; --ink: #23282d; --soft: #555c62; --line: #dcd7cb; --mark: #2b6b5e }
@media (prefers-color-scheme: dark) {
  :root { --ground: #15191c; --ink: #e9e7e1; --soft: #abb1b5; --line: #333a3f; --mark: #7cc4b3 }
}
* { box-sizing: border-box; margin: 0 }
html { background: var(--ground); color: var(--ink) }
body {
  min-height: 100vh; min-height: 100svh; display: grid; place-items: center; padding: 3rem 1.5rem;
  font: 1.0625rem/1.8 -apple-system, "Segoe UI", Roboto, "Hiragino Sans", "Yu Gothic UI", "Noto Sans CJK JP",
    "Noto Sans JP", system-ui, sans-serif;
  overflow-wrap: anywhere; word-break: auto-phrase; text-wrap: pretty
}
main { width: 100%; max-width: 35rem }
p { color: var(--soft) }
.service { color: var(--mark); font-weight: 600; letter-spacing: .03em }
.service::before {
  content: ""; display: block; width: 2.25rem; height: 3px; margin-bottom: 1.5rem; background: var(--mark)
}
h1 { margin: .25rem 0 1.25rem; font-size: clamp(1.7rem, 1.3rem + 2vw, 2.4rem); line-height: 1.35; text-wrap: balance }
dl { margin: 2.5rem 0; border-top: 1px solid var(--line) }
dl div { padding: 1.1rem 0 1.2rem; border-bottom: 1px solid var(--line) }
dt { color: var(--soft); font-size: .875rem }
time { font-size: 1.375rem; font-weight: 600 }
</style>
</head>
<body>
<main>
<p class="service">$service</p>
<h1>$title</h1>
<p>$lead</p>
$facts
<p>$later</p>
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
