"""The style sheet of report.html: light and dark, phone and desk, no scripts."""

STYLE = """
:root { color-scheme: light dark;
  --ink:#1b1f24; --soft:#57606a; --page:#f6f7f9; --card:#ffffff; --line:#d9dee4;
  --accent:#0b62a8; --good:#0a6b4b; --bad:#a63c06; --zebra:#f3f5f8; }
@media (prefers-color-scheme: dark) { :root {
  --ink:#e6e9ed; --soft:#9aa4b0; --page:#0e1116; --card:#171b21; --line:#2f3742;
  --accent:#6cb6f5; --good:#4fc79a; --bad:#f0945c; --zebra:#1d222a; } }
* { box-sizing: border-box; }
body { margin:0; background:var(--page); color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
  overflow-wrap:anywhere; }
main { max-width:860px; margin:0 auto; padding:24px 16px 64px; }
h1 { font-size:1.7rem; line-height:1.2; margin:.2em 0 .5em; text-wrap:balance; }
h2 { font-size:1.25rem; margin:2.2em 0 .6em; }
h3 { font-size:1.02rem; margin:1.4em 0 .4em; }
p, ul { margin:.6em 0; } li { margin:.35em 0; } ul { padding-left:1.2em; }
.eyebrow { color:var(--soft); font-size:.9rem; margin:0; }
.note, figcaption, small { color:var(--soft); font-size:.86rem; }
.card, figure, details { background:var(--card); border:1px solid var(--line);
  border-radius:10px; margin:1em 0; }
.card { padding:4px 18px; border-left:4px solid var(--accent); }
figure { padding:10px 10px 12px; } figcaption { padding:8px 6px 0; }
figure img { display:block; width:100%; max-width:660px; height:auto;
  margin:0 auto; border-radius:6px; }
details { padding:0 14px; } details[open] { padding-bottom:10px; }
summary { cursor:pointer; padding:10px 0; font-weight:600; }
.scroll { overflow-x:auto; border:1px solid var(--line); border-radius:10px;
  background:var(--card); margin:.8em 0; }
details .scroll { border:0; margin:0 -14px; border-radius:0; }
table { border-collapse:collapse; width:100%; font-size:.9rem;
  font-variant-numeric:tabular-nums; overflow-wrap:normal; }
th, td { padding:7px 12px; text-align:right; white-space:nowrap;
  border-bottom:1px solid var(--line); }
tbody tr:last-child > * { border-bottom:0; }
thead th { color:var(--soft); font-weight:600; vertical-align:bottom;
  white-space:normal; min-width:5.4em; }
th:first-child { text-align:left; position:sticky; left:0; background:var(--card);
  border-right:1px solid var(--line); }
tbody th { font-weight:500; white-space:normal; min-width:8.2em; max-width:12em; }
tr.mark > * { background:var(--zebra); }
td small { display:block; }
.good { color:var(--good); } .bad { color:var(--bad); }
code, pre { font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;
  font-size:.86rem; }
pre { background:var(--card); border:1px solid var(--line); border-radius:10px;
  padding:12px 14px; overflow-x:auto; overflow-wrap:normal; }
dl { display:grid; grid-template-columns:minmax(7em,max-content) 1fr; gap:2px 16px;
  margin:.2em 0; font-size:.9rem; }
dt { color:var(--soft); } dd { margin:0; min-width:0; }
dl dl { grid-column:1 / -1; border-left:2px solid var(--line); padding-left:12px; }
dt.group { grid-column:1 / -1; font-weight:600; margin-top:.6em; }
@media (max-width:480px) { h1 { font-size:1.4rem; } th, td { padding:6px 9px; }
  tbody th { max-width:8.6em; } dl { grid-template-columns:1fr; }
  dd { margin-bottom:.4em; } }
@media print { details { display:block; } }
"""
