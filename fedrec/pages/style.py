"""The style sheet of live pages: that of ``report.html``, wider, with charts that are drawn without matplotlib."""

from fedrec.runs.report_style import STYLE as REPORT_STYLE

STYLE = (
    REPORT_STYLE
    + """
main { max-width: 76rem; padding-top: 2rem; }
header { margin-bottom: 1.5rem; }
h1 { font-size: 1.7rem; }
h2 { margin-top: 2.8rem; }
a { color: var(--blue); }
nav { display: flex; flex-wrap: wrap; gap: 0.3rem 1.2rem; margin: 0.5rem 0 1rem; }
nav [aria-current] { font-weight: 650; color: var(--ink); text-decoration: none; }
.tiles { margin-top: 1.2rem; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); }
.tile dl, .tile dd { margin: 0; }
td span, tbody th { white-space: nowrap; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: 0 2.5rem; }
.charts figure, .wide { margin: 1.2rem 0; }
.wide svg { min-width: 42rem; }
figure { max-width: 100%; }
svg text { fill: var(--muted); font-size: 12px; }
svg .title { fill: var(--ink); font-size: 13px; font-weight: 600; }
svg .rule { stroke: var(--rule); stroke-width: 1; }
svg .limit { stroke: var(--vermillion); stroke-width: 1.5; stroke-dasharray: 6 3; }
svg .limit-label { fill: var(--vermillion); }
svg .line { fill: none; stroke-width: 2; }
svg .c0 { stroke: var(--blue); } svg .c1 { stroke: var(--orange); stroke-dasharray: 7 3; }
svg .c2 { stroke: var(--green); stroke-dasharray: 2 2; } svg .c3 { stroke: var(--purple); stroke-dasharray: 9 3 2 3; }
svg .c4 { stroke: var(--vermillion); stroke-dasharray: 4 4; } svg .c5 { stroke: var(--sky); stroke-dasharray: 1 3; }
svg .taken { fill: var(--green); } svg .refused { fill: var(--orange); } svg .quarantined { fill: var(--vermillion); }
svg .silent { fill: var(--paper); stroke: var(--muted); stroke-width: 1; stroke-dasharray: 2 2; }
svg .whisker { stroke: var(--blue); stroke-width: 1.5; } svg .dot { fill: var(--blue); }
svg .closed { stroke: var(--muted); stroke-width: 1.5; }
svg .cross { fill: var(--vermillion); font-size: 14px; font-weight: 700; }
.badge { border: 1px solid currentColor; border-radius: 1rem; padding: 0.05rem 0.6rem; font-size: 0.85rem; }
.badge.good { color: var(--green); } .badge.bad { color: var(--vermillion); } .badge.wait { color: var(--orange); }
.alarm { border-left: 3px solid var(--vermillion); padding: 0.3rem 0 0.3rem 1rem; margin: 0.6rem 0; }
.alarm p { margin: 0; overflow-wrap: anywhere; }
.seen { border-left-color: var(--rule); color: var(--muted); }
#connection { background: var(--vermillion); color: var(--paper); margin: 0; padding: 0.6rem 2rem; max-width: none; }
form { display: flex; flex-wrap: wrap; gap: 0.6rem; align-items: end; margin: 0.6rem 0; }
.controls { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); gap: 1rem; }
.controls > div { background: var(--panel); border-radius: 0.6rem; padding: 0.9rem 1.1rem; }
.controls h3 { margin: 0 0 0.2rem; }
.controls p { margin: 0; font-size: 0.9rem; color: var(--muted); }
label { display: block; font-size: 0.85rem; color: var(--muted); }
input, select, button { font: inherit; color: var(--ink); background: var(--paper); border: 1px solid var(--muted); }
input, select, button { border-radius: 0.4rem; padding: 0.35rem 0.7rem; max-width: 100%; }
button { cursor: pointer; font-weight: 600; }
button.danger { background: var(--vermillion); color: var(--paper); border-color: var(--vermillion); }
:focus-visible { outline: 3px solid var(--blue); outline-offset: 2px; }
td.left, th.left { text-align: left; }
"""
)
