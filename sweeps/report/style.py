"""The style sheet of the page: light and dark, on a phone and on a desk."""

STYLE = """
:root{color-scheme:light dark;
--ground:light-dark(#fff,#15171b);--ink:light-dark(#1d1e21,#e8e8e5);
--quiet:light-dark(#5b5f67,#a3a8b1);--line:light-dark(#dcdcd6,#363b43);
--soft:light-dark(#f5f4f0,#20242a);--accent:light-dark(#b03a0a,#ff9f70);
--link:light-dark(#1a5fb4,#83b6f6)}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--ground);
max-width:72rem;margin:0 auto;padding:1.5rem 1.25rem 4rem;overflow-wrap:anywhere}
a{color:var(--link)}
h1{font-size:1.9rem;line-height:1.2;margin:.5rem 0 .25rem}
h2{font-size:1.4rem;margin:3.5rem 0 .75rem;padding-top:.75rem;border-top:2px solid var(--ink)}
h3{font-size:1.15rem;margin:2.75rem 0 .75rem;padding-top:.75rem;border-top:1px solid var(--line)}
h4{font-size:1rem;margin:1.75rem 0 .4rem}
p{margin:.6rem 0;max-width:54rem}
ul{padding-left:1.25rem;max-width:54rem}
code,pre{font-family:ui-monospace,monospace;font-size:.875em}
pre{background:var(--soft);padding:.75rem 1rem;border-radius:.4rem;white-space:pre-wrap;margin:0}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums;border:0}
td,th{padding:.3rem .7rem;text-align:right;border:0;border-bottom:1px solid var(--line);
vertical-align:top}
th{font-weight:600}
tbody th{font-weight:400}
th:first-child,td:first-child{text-align:left;padding-left:0}
.claims td,.claims th{padding:.3rem .5rem;font-size:13px}
.claims :is(td,th):nth-child(2){text-align:left}
tr:target{background:light-dark(#fdf0d5,#4a3a12)}
.scroll{overflow-x:auto;margin:1rem 0;overflow-wrap:normal}
.scroll td,.scroll th{white-space:nowrap}
figure{margin:1.75rem 0}
img{display:block;max-width:100%;height:auto;background:#fff;border-radius:.4rem}
@media(prefers-color-scheme:dark){img{padding:.4rem;filter:brightness(.92)}}
img[src^="data:image/gif"]{width:36rem;image-rendering:pixelated}
figcaption{color:var(--quiet);font-size:.9rem;margin-top:.5rem;max-width:54rem}
nav{background:var(--soft);padding:.75rem 1.25rem;border-radius:.4rem;margin:1.5rem 0}
nav ul{margin:.25rem 0;padding-left:1.1rem}
dl{display:grid;grid-template-columns:minmax(7rem,auto) minmax(0,1fr);gap:.3rem 1.25rem;
margin:1rem 0}
dt{color:var(--quiet)}
dd{margin:0}
details{margin:1rem 0}
summary{cursor:pointer}
.quiet{color:var(--quiet)}
.why,.warning{background:var(--soft);padding:.6rem 1rem;border-left:3px solid var(--line);
border-radius:0 .4rem .4rem 0}
.warning{border-color:var(--accent)}
@media(max-width:40rem){body{padding:1rem .9rem 3rem}dl{grid-template-columns:minmax(0,1fr);gap:0}
dd{margin-bottom:.5rem}h1{font-size:1.5rem}td,th{padding:.3rem .5rem}}
@media print{nav{display:none}h2{break-before:page}figure,tr{break-inside:avoid}}
"""
HEAD = (
    "<!doctype html><html lang=en><meta charset=utf-8>"
    '<meta name=viewport content="width=device-width,initial-scale=1">'
    f"<title>amnesia report</title><style>{STYLE}</style>"
)
