/** The page's style sheet: that of the report, and the rules that only this page needs. */
import { style as reportStyle } from '../report/html/style.ts';

const own = `
[hidden]{display:none}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);
  white-space:nowrap;margin:0}
.block{display:block}
.eyebrow a{color:inherit}
h1 .chip{font-weight:400;vertical-align:middle}
h2:focus,h1:focus{outline:none}
input:focus-visible,select:focus-visible,.grid:focus-visible,pre:focus-visible,
  h2:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.caveats.told{margin-top:16px}
.caveats.told li{background:var(--soft)}
button.link{color:var(--accent);background:none;border:0;padding:0;font:inherit;text-align:left;
  text-decoration:underline;text-underline-offset:2px;cursor:pointer;overflow-wrap:anywhere;vertical-align:top}
button.link.bad{color:var(--bad)}
.chip{white-space:nowrap}
.chip.is-ran,.chip.is-cached,.chip.run-done{background:#dff3ec;color:var(--held)}
.chip.is-running,.chip.run-running{background:#dcecf7;color:#00527f;font-weight:600}
.chip.is-failed,.chip.is-blocked,.chip.run-failed,.chip.run-killed{background:#fbe3e1;
  color:var(--bad);font-weight:600}
.statebar{display:flex;height:8px;border-radius:4px;overflow:hidden;background:#e3e7ec;
  min-width:60px}
.statebar>span{display:block;min-width:2px}
.part-ran{background:#009e73}.part-cached{background:#7fceb8}.part-running{background:#0072b2}
.part-failed{background:#b3261e}.part-blocked{background:#e3a19c}
.part-stopped{background:#5b6776}.part-abandoned{background:#aab3bd}
.progress{margin:6px 0 14px}
.progress .statebar{height:12px;border-radius:6px}
td.bar{min-width:150px}
td.bar .statebar{margin:6px 0 3px}
td.bar progress{display:block;width:100%;height:8px;margin:6px 0 3px;accent-color:var(--accent)}
tbody th{font-weight:400;color:var(--ink)}
.dense tbody th{white-space:nowrap}
th.stage{width:60%;min-width:170px}
ol.queue{padding-left:24px;margin:0 0 6px;font-size:13.5px}
ol.queue li,ul.named li{margin:0 0 3px}
ul.named{list-style:none;padding:0;margin:0 0 6px;font-size:13.5px}
ul.failures{list-style:none;padding:0;max-width:none}
ul.failures>li{margin:0 0 12px}
.message{max-width:none;white-space:pre-wrap}
.message.hint{color:var(--muted)}
.graph{padding:4px}
.canvas{position:relative;margin:0 auto}
.canvas svg{position:absolute;inset:0}
.arrow{fill:none;stroke:#9aa5b1;stroke-width:1.2;stroke-linejoin:round}
#tip path{fill:#9aa5b1}
.box{position:absolute;display:flex;flex-direction:column;justify-content:center;gap:3px;
  text-align:left;font:inherit;font-size:12px;color:var(--muted);background:#f4f7fa;
  border:1px solid #b8c2cc;border-radius:7px;padding:6px 10px;cursor:pointer}
.box strong{color:var(--ink);font-size:13px;overflow:hidden;text-overflow:ellipsis;
  white-space:nowrap}
.box>span:not(.statebar){min-height:16px;line-height:16px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.box:hover{border-color:var(--accent)}
.box.has-failed{background:#fdecea;border-color:var(--bad)}
.filter{display:flex;flex-wrap:wrap;gap:8px 16px;align-items:baseline;margin:0 0 10px;
  font-size:13.5px}
.filter label{color:var(--muted)}
input,select{font:inherit;color:var(--ink);background:#fff;border:1px solid #8a96a3;
  border-radius:6px;padding:3px 8px;max-width:100%}
input[type=search]{width:240px}
.grid{overflow:auto;border:1px solid var(--line);border-radius:8px;position:relative;font-size:13px;
  font-variant-numeric:tabular-nums;margin:0 0 12px;overscroll-behavior:contain}
.grid .row{display:grid;align-items:center;gap:0 12px;height:34px;padding:0 12px;
  min-width:var(--least);width:100%;border-bottom:1px solid var(--line)}
.grid .row>*{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.grid .head{position:sticky;top:0;z-index:1;background:#f3f6f9;color:var(--muted);font-weight:600}
.grid .rows{position:relative;min-width:var(--least)}
.grid .rows .row{position:absolute;left:0;cursor:pointer}
.grid .rows .row:hover{background:var(--soft)}
.grid:focus-visible .row.active{box-shadow:inset 0 0 0 2px var(--accent)}
.grid .number{text-align:right}
.cut{display:block;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
ul.notes{list-style:none;padding:0;max-width:none;font-size:13.5px}
pre.log{max-height:380px;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}
.drawer{position:fixed;top:0;right:0;bottom:0;width:min(560px,100%);overflow-y:auto;z-index:10;
  background:#fff;border-left:1px solid var(--line);box-shadow:-8px 0 24px rgba(27,36,48,.14);
  padding:16px 22px 40px;overscroll-behavior:contain}
.drawer-head{display:flex;justify-content:space-between;align-items:center;margin:0 0 8px}
.drawer h2{font-size:18px}
.drawer h3{font-size:15px;margin:20px 0 6px}
.drawer dl.facts{gap:6px 22px;font-size:13px}
.close{font:inherit;font-size:13.5px;border:1px solid #8a96a3;border-radius:6px;background:#fff;
  color:var(--ink);padding:3px 12px;cursor:pointer}
.curve{display:block;width:100%;height:auto;margin:0 0 6px}
.curve text{font-size:11px;fill:var(--muted)}
.curve .rule{stroke:#e3e7ec}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.line-0{stroke:#0072b2}.line-1{stroke:#d55e00;stroke-dasharray:6 3}
.dot-0{fill:#0072b2}.dot-1{fill:#d55e00}.dot-2{fill:#009e73}.dot-3{fill:#cc79a7}
.line-2{stroke:#009e73;stroke-dasharray:2 3}.line-3{stroke:#cc79a7;stroke-dasharray:8 3 2 3}
.key{display:inline-block;width:18px;height:0;border-top:2px solid;vertical-align:middle}
.key-0{color:#0072b2}.key-1{color:#d55e00;border-top-style:dashed}
.key-2{color:#009e73;border-top-style:dotted}.key-3{color:#cc79a7;border-top-style:dashed}
@media(max-width:640px){.ul.named,ol.queue{font-size:13px}input[type=search]{width:100%}
  .drawer{padding:14px 16px 40px}td.bar{min-width:110px}}
@media(prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
`
  .trim()
  .replaceAll('\n  ', '');

export const style = `${reportStyle}\n${own}\n`;
