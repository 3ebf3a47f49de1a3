"""The style sheet of ``report.html``: light, dark and print from one set of colours, nothing from elsewhere."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f6f7f8; --ink: #1a1d21; --muted: #5c6570; --rule: #dfe3e7;
  --blue: #0072b2; --green: #009e73; --orange: #c98500; --vermillion: #d55e00; --purple: #b8558f; --sky: #3d9bd1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --panel: #1d2126; --ink: #e8eaed; --muted: #a3acb6; --rule: #333a42;
    --blue: #56b4e9; --green: #2fc79b; --orange: #e69f00; --vermillion: #f0803c; --purple: #e39ac4; --sky: #8fcdf2;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 60rem; margin: 0 auto; padding: 4rem 2rem 6rem; }
header { margin-bottom: 3rem; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: 0.2rem 0 0.6rem; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.35rem; margin: 4.5rem 0 0.4rem; letter-spacing: -0.005em; }
h3 { font-size: 1rem; margin: 2.5rem 0 0.5rem; }
p { max-width: 44rem; margin: 0.5rem 0 1rem; }
.eyebrow { color: var(--muted); font-size: 0.85rem; margin: 0; }
.lead, .caption { color: var(--muted); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(12.5rem, 1fr)); gap: 1rem; margin: 2.5rem 0 0; }
.tile { background: var(--panel); border-radius: 0.6rem; padding: 1.1rem 1.25rem; break-inside: avoid; }
.tile dt { color: var(--muted); font-size: 0.85rem; }
.tile dd { margin: 0.1rem 0 0; font-size: 1.7rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile dd small { display: block; font-size: 0.82rem; line-height: 1.45; color: var(--muted); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 1.25rem 0; font-variant-numeric: tabular-nums; }
.narrow { max-width: 36rem; }
th, td { text-align: right; padding: 0.5rem 0 0.5rem 1.5rem; border-bottom: 1px solid var(--rule); }
th, td { vertical-align: baseline; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--muted); font-weight: 500; font-size: 0.85rem; white-space: nowrap; }
tbody th { font-weight: 400; }
tr.own th, tr.own td { font-weight: 650; border-bottom-color: var(--blue); }
td small { display: block; color: var(--muted); font-weight: 400; font-size: 0.78rem; white-space: nowrap; }
dl.facts { display: grid; grid-template-columns: 11rem 1fr; gap: 0.55rem 1.5rem; margin: 1.5rem 0; }
dl.facts dt { color: var(--muted); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
dl.facts ul { margin: 0; padding-left: 1.1rem; }
figure { margin: 2rem 0 2.5rem; break-inside: avoid; }
figcaption { color: var(--muted); font-size: 0.9rem; max-width: 44rem; margin-top: 0.6rem; }
figure svg { display: block; width: 100%; height: auto; font-family: inherit; overflow: visible; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
.warning { border-left: 3px solid var(--vermillion); padding: 0.2rem 0 0.2rem 1rem; }
code, pre { font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; font-size: 0.85rem; }
pre { background: var(--panel); border-radius: 0.6rem; padding: 1.25rem; overflow-x: auto; line-height: 1.5; }
footer { margin-top: 5rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
footer { color: var(--muted); font-size: 0.85rem; }
@media (max-width: 40rem) {
  main { padding: 2rem 1.1rem 4rem; }
  dl.facts { grid-template-columns: 1fr; gap: 0 0; }
  dl.facts dd { margin-bottom: 0.8rem; }
}
@media print {
  :root {
    --paper: #ffffff; --panel: #f3f4f5; --ink: #000000; --muted: #444444; --rule: #cccccc;
    --blue: #0072b2; --green: #009e73; --orange: #c98500; --vermillion: #d55e00; --purple: #b8558f; --sky: #3d9bd1;
  }
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  h2 { margin-top: 2.2rem; break-after: avoid; }
  h3, .lead { break-after: avoid; }
  table, tr, dl.facts dd { break-inside: avoid; }
  .scroll { overflow: visible; }
  .tiles { grid-template-columns: repeat(4, 1fr); }
  .tile dd { font-size: 1.4rem; }
  pre { white-space: pre-wrap; font-size: 7.5pt; columns: 2; }
  @page { margin: 18mm; }
}
"""
