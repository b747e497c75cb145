"""The style sheet of a report: light, one column of cards, readable on a phone."""

CSS = """
:root { --ink: #1b2430; --muted: #5b6675; --line: #e1e6ed; --card: #fff; --page: #f5f7fa; --blue: #2563eb;
  --orange: #c2620a; --red: #d11a4a; --teal: #0f766e; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 56px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 4px; }
p { margin: 0 0 12px; max-width: 105ch; }
.lead, .note { color: var(--muted); }
.note { font-size: 13.5px; }
section, .card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px 22px;
  margin-top: 18px; }
.badge { display: inline-block; font-size: 12px; font-weight: 600; border-radius: 99px; padding: 2px 10px;
  vertical-align: 5px; margin-left: 8px; background: #e3f3ef; color: var(--teal); white-space: nowrap; }
.badge.open { background: #fdf0dd; color: var(--orange); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(158px, 1fr)); gap: 12px; margin-top: 18px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 13px 16px; }
.tile b { display: block; font-size: 24px; line-height: 1.3; font-weight: 650; white-space: nowrap; }
.tile span { color: var(--muted); font-size: 13px; display: block; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 5px 18px; margin: 0; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font: 13px/1.6 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code span { display: inline-block; background: #eef2f8; border-radius: 5px; padding: 0 6px; margin: 0 4px 4px 0; }
.warning { border: 1px solid #f3cf9b; border-left: 5px solid var(--orange); background: #fff8ec; border-radius: 8px;
  padding: 11px 16px; margin-top: 14px; overflow-wrap: anywhere; }
.warning ul { margin: 4px 0 0; padding-left: 20px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: var(--muted); font-size: 12.5px; }
th, td { padding: 6px 8px; border-bottom: 1px solid var(--line); white-space: nowrap; }
td { text-align: right; }
.left, th:first-child, td:first-child { text-align: left; }
tr:last-child td { border-bottom: 0; }
tr.winner td { background: #fdf0f3; font-weight: 600; }
.bar { display: inline-block; vertical-align: middle; width: 64px; height: 9px; background: #eef1f5; border-radius: 3px;
  margin-right: 8px; text-align: left; }
.bar i { display: block; height: 100%; border-radius: 3px; background: var(--blue); }
.bar.time i { background: var(--orange); }
td .share { display: inline-block; min-width: 3.7em; }
.split { display: flex; height: 34px; border-radius: 8px; overflow: hidden; margin: 6px 0 2px; max-width: 100%; }
.split div { color: #fff; font-size: 13px; font-weight: 600; line-height: 34px; padding: 0 10px; min-width: 3px;
  overflow: hidden; white-space: nowrap; background: var(--teal); }
.split div.latency { background: var(--orange); }
.split div.tight { padding: 0; }
.split div.against { background-image: repeating-linear-gradient(45deg, transparent 0 6px, rgba(255,255,255,.35) 6px 9px); }
.key i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin: 0 6px 0 0; }
.key span { margin-right: 18px; white-space: nowrap; }
.groups { display: grid; grid-template-columns: repeat(auto-fill, minmax(310px, 1fr)); gap: 14px 22px; margin-top: 12px; }
.group h3 { font-size: 14px; margin: 0 0 4px; }
.decision { display: flex; align-items: stretch; margin-bottom: 4px; gap: 3px; }
.decision > span { flex: 0 0 52px; color: var(--muted); font-size: 12.5px; align-self: center; overflow: hidden;
  text-overflow: ellipsis; }
.option { flex: 1 1 0; min-width: 0; border: 1px solid var(--line); border-radius: 5px; text-align: center;
  font-size: 11.5px; line-height: 1.25; padding: 2px 1px; cursor: default; overflow: hidden; }
.option small { display: block; font-size: 11px; color: #3c4654; font-variant-numeric: tabular-nums; }
.option.taken { border-color: var(--red); box-shadow: inset 0 0 0 1px var(--red); }
.plot { width: 100%; }
footer { color: var(--muted); font-size: 13px; margin-top: 20px; }
@media (max-width: 600px) {
  main { padding: 18px 10px 36px; }
  section, .card { padding: 15px 13px; border-radius: 10px; }
  h1 { font-size: 23px; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 8px; }
  .tile { padding: 10px 12px; }
  .tile b { font-size: 20px; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 8px; }
  .groups { grid-template-columns: 1fr; }
}
"""
