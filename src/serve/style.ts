/** The style sheet of the report's pages, and the rules that only this page needs. */
import { pageStyle } from '../report/html/style.ts';

const ownStyle = `
[hidden]{display:none}
.block{display:block}
.eyebrow a{color:inherit}
h1 .chip{font-weight:400;vertical-align:middle}
h2:focus,h1:focus{outline:none}
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
@media(max-width:640px){.grid .cut{display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:2;
  white-space:normal;overflow-wrap:anywhere;font-size:12px;line-height:16px}
  ul.named,ol.queue{font-size:13px}
  .drawer{padding:14px 16px 40px}td.bar{min-width:110px}}
@media(prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
`
  .trim()
  .replaceAll('\n  ', '');

const dark = `@media(prefers-color-scheme:dark){
.drawer,.caveats li,.card,figure,nav{background:#12171e}
.close{background:#1b222c;border-color:#667382}
.chip.is-ran,.chip.is-cached,.chip.run-done{background:#12392f;color:var(--held)}
.chip.is-running,.chip.run-running{background:#123448;color:#8fcdf2}
.chip.is-failed,.chip.is-blocked,.chip.run-failed,.chip.run-killed,.failed-note,.box.has-failed,
  .caveats li.severe{background:#43201e}
.statebar{background:#37414d}
.box{background:#1b222c;border-color:#4a5665}
.curve .rule{stroke:#37414d}
.line-0{stroke:#62b6e7}.dot-0{fill:#62b6e7}.key-0{color:#62b6e7}
.part-running{background:#3a9bd5}.part-failed{background:#e5534b}.part-stopped{background:#8793a1}
}`.replaceAll('\n  ', '');

export const style = `${pageStyle}\n${ownStyle}\n${dark}\n`;
