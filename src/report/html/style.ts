/** The page's style sheet. A line that begins with two spaces continues the one above it. */
export const style = `
:root{--ink:#1b2430;--muted:#5b6776;--line:#dfe4ea;--soft:#f5f7fa;--accent:#0072b2;--held:#00664b;
  --refuted:#a83f00;--bad:#b3261e;color-scheme:light}
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:56px;-webkit-text-size-adjust:100%}
body{margin:0;overflow-wrap:anywhere;background:#fff;color:var(--ink);
  font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
.wrap{max-width:1160px;margin:0 auto;padding:0 24px}
header.top{border-top:4px solid var(--accent);background:var(--soft);
  border-bottom:1px solid var(--line);padding:16px 0 20px}
.eyebrow{color:var(--muted);font-size:13px;letter-spacing:.02em;margin:0}
h1{font-size:27px;line-height:1.2;margin:0 0 2px;overflow-wrap:anywhere}
.question{font-size:16px;color:var(--muted);margin:0 0 10px;max-width:none}
.notes{white-space:pre-line;margin:0 0 10px;max-width:none}
.standing{border-left:4px solid var(--accent);background:#fff;padding:9px 16px;margin:0 0 12px;
  border-radius:0 6px 6px 0}
.standing strong{display:block;font-size:17px;line-height:1.35}
.standing p{margin:2px 0 0;color:var(--muted);font-size:13.5px;max-width:none}
dl.facts{display:flex;flex-wrap:wrap;gap:8px 28px;margin:0}
dl.facts dt{color:var(--muted);font-size:12.5px}
dl.facts dd{margin:0;font-weight:600;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.answer{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:14px;
  margin:0 0 16px;align-items:start}
.answer figure{padding:10px 14px 8px}
.answer figure svg{width:100%;max-width:430px;margin:0}
.answer figure h4{font-size:15px;margin:0}
.answer figcaption{font-size:12.5px;margin-top:2px}
.answer .downloads{margin-top:2px;font-size:12.5px}
.caveats{list-style:none;margin:0 0 12px;padding:0;max-width:none}
.caveats li{border-left:4px solid var(--line);background:#fff;padding:6px 16px;margin:0 0 6px;
  border-radius:0 6px 6px 0;font-size:13.5px;line-height:1.45}
.caveats li.severe{border-left-color:var(--bad);background:#fdf1f0}
.caveats li.severe strong{color:var(--bad)}
.meanings{columns:2 380px;column-gap:24px;margin:0 0 14px}
.meanings div{break-inside:avoid;margin:0 0 3px}
.meanings dt{display:inline;font-weight:600}
.meanings dt::after{content:": "}
.meanings dd{display:inline;margin:0}
.failed-note{border-left:4px solid var(--bad);background:#fdf1f0;padding:10px 16px;
  margin:16px 0 0;border-radius:0 6px 6px 0}
.failed-note p{margin:2px 0}
nav{position:sticky;top:0;background:rgba(255,255,255,.97);border-bottom:1px solid var(--line);
  z-index:5}
nav .wrap{display:flex;gap:2px 20px;overflow-x:auto;white-space:nowrap;padding-top:9px;
  padding-bottom:9px}
nav a{color:var(--muted);text-decoration:none;font-size:14px;padding:2px 0}
nav a:hover,nav a:focus{color:var(--accent)}
section{padding:30px 0 6px}
h2{font-size:22px;margin:0 0 10px;line-height:1.25}
h3{font-size:17px;margin:26px 0 8px;line-height:1.3}
p{margin:0 0 10px;max-width:76ch}
p.small{max-width:104ch}
ul,ol{max-width:76ch;padding-left:22px}
li{margin:0 0 6px}
a{color:var(--accent)}
.muted{color:var(--muted)}
.small{font-size:13px}
.findings{columns:2 420px;column-gap:16px;margin-top:4px}
.finding{border:1px solid var(--line);border-radius:8px;padding:14px 16px 8px;margin:0 0 16px;
  min-width:0;background:#fff;break-inside:avoid}
.finding.wide{column-span:all}
.finding h3{margin:0 0 4px;font-size:15.5px}
.finding p{margin:0 0 8px}
.finding table{margin:0 0 8px}
.finding .scroll{border:0;border-radius:0;margin:0 0 8px}
.finding tbody th{color:var(--ink);font-weight:500;vertical-align:top;white-space:normal;
  min-width:98px}
.finding td,.finding th{padding:4px 10px 4px 0}
.finding thead th{background:none;font-size:12.5px}
.finding td:last-child,.finding th:last-child{padding-right:0}
.finding td.number:last-child{white-space:normal}
.finding td .bad{font-weight:500}
.whole{white-space:nowrap}
/* a shadow at an edge says that there is more beyond it */
.scroll{container-type:inline-size;overflow-x:auto;margin:0 0 12px;border:1px solid var(--line);
  border-radius:8px;
  max-width:100%;background:linear-gradient(to right,#fff 40%,
  transparent) 0 0/36px 100% no-repeat local,linear-gradient(to left,#fff 40%,
  transparent) 100% 0/36px 100% no-repeat local,linear-gradient(to right,rgba(27,36,48,.22),
  transparent) 0 0/12px 100% no-repeat scroll,linear-gradient(to left,rgba(27,36,48,.22),
  transparent) 100% 0/12px 100% no-repeat scroll}
.scroll:focus-visible,summary:focus-visible,a:focus-visible,button:focus-visible{
  outline:2px solid var(--accent);outline-offset:2px}
table{overflow-wrap:normal;border-collapse:collapse;width:100%;font-size:13px;
  font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--muted);padding:8px 12px 4px;font-size:13px}
/* as wide as the box that scrolls, not as the table in it, and still while that scrolls */
.scroll caption span{display:block;position:sticky;left:12px;max-width:calc(100cqi - 24px)}
th{font-weight:600;text-align:left;color:var(--muted);vertical-align:bottom}
td,th{padding:6px 11px;border-bottom:1px solid var(--line);vertical-align:top}
tbody tr:last-child td,tbody tr:last-child th{border-bottom:0}
thead th{background:rgba(210,220,231,.22)}
td.number,th.number{text-align:right}
td.number,td.nowrap,th.nowrap{white-space:nowrap}
td.words,th.words{min-width:21ch}
.scroll td .chip{white-space:nowrap}
table.dense{font-size:12.5px}
.dense td,.dense th{padding:5px 8px}
td.claim{min-width:136px}
.scroll td.claim .chip{white-space:normal}
td.cut{max-width:420px;overflow-wrap:anywhere}
tr.first td{border-top:2px solid #c6ced7}
.bad{color:var(--bad);font-weight:600}
.chip{display:inline-block;border-radius:10px;padding:0 9px;font-size:12.5px;line-height:20px;
  background:#eceff3;color:#445;white-space:normal}
.chip.held{background:#dff3ec;color:var(--held);font-weight:600}
.chip.refuted{background:#fbe6d9;color:var(--refuted);font-weight:600}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,480px),1fr));
  gap:18px;margin:8px 0 14px;align-items:start}
.figures.masonry{display:block;columns:2 440px;column-gap:18px}
.figures.masonry figure{margin:0 0 18px}
.figures.wide{grid-template-columns:minmax(0,1fr)}
figure{margin:0;border:1px solid var(--line);border-radius:8px;padding:12px 14px 10px;min-width:0;
  break-inside:avoid;background:#fff}
figure h4{margin:0 0 6px;font-size:14.5px;line-height:1.3}
figure svg{display:block;max-width:100%;height:auto;margin:0 auto}
.broad{grid-column:1/-1}
.broad .scroll{border:0;margin:0}
.broad svg{max-width:max(100%,900px)}
figcaption{color:var(--muted);font-size:13px;margin-top:6px}
.downloads{margin-top:6px;font-size:13px;display:flex;gap:14px}
.downloads a,.downloads button{color:var(--accent);background:none;border:0;padding:0;
  font:inherit;text-decoration:underline;cursor:pointer}
details{border:1px solid var(--line);border-radius:8px;padding:0 14px;margin:0 0 14px;min-width:0}
details[open]{padding-bottom:10px}
summary{cursor:pointer;padding:9px 0;font-weight:600}
pre{overflow-x:auto;background:var(--soft);border-radius:6px;padding:12px 14px;
  font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
  margin:0 0 10px;max-width:100%}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
  overflow-wrap:anywhere}
.example{border:1px solid var(--line);border-radius:8px;padding:10px 14px;margin:0 0 12px;
  min-width:0}
.example p{margin:0 0 6px;max-width:none;overflow-wrap:anywhere;white-space:pre-wrap}
.example .which{display:block;color:var(--muted);font-size:12.5px}
mark{background:#fde3b0;padding:0 2px;border-radius:3px}
footer{color:var(--muted);font-size:13px;padding:26px 0 40px;border-top:1px solid var(--line);
  margin-top:26px}
@media(max-width:640px){.wrap{padding:0 16px}h1{font-size:25px}.question{font-size:15px}h2{
  font-size:20px}section{padding-top:22px}figure{padding:10px 8px}dl.facts{gap:8px 20px}td,th{
  padding:6px 9px}.finding{padding:12px 12px 6px}.finding table{font-size:12.5px}
  .narrow table,.narrow thead,.narrow tbody{display:block}.narrow tr{display:flex;
  flex-wrap:wrap;border-bottom:1px solid var(--line);padding:3px 0}.narrow tr:last-child{
  border-bottom:0}.narrow tr>*{flex:1 1 0;border:0;padding:2px 7px 2px 0;min-width:0}
  .narrow tr>:first-child{flex-grow:1.5}.narrow tr>.compared{flex-basis:100%}
  .wide thead{display:none}.wide table,.wide tbody,.wide tr,.wide tbody th{display:block}
  .wide tr{border-bottom:1px solid var(--line);padding:3px 0}.wide td.number{display:flex;
  justify-content:space-between;gap:12px;border:0;white-space:normal}
  .wide td::before{content:attr(data-title);color:var(--muted)}
  .finding .compared:empty{display:none}.finding .whole{white-space:normal}
  .finding td,.finding th{padding:4px 7px 4px 0}.answer figure{padding:10px 12px 8px}.meanings{
  columns:1}}
@media print{nav,.downloads{display:none}body{font-size:11pt}header.top{background:none}.scroll{
  overflow:visible}details:not([open]){display:none}a{color:inherit;text-decoration:none}section{
  break-before:auto}}
`
  .trim()
  .replaceAll('\n  ', '');

const controls = `
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);
  white-space:nowrap;margin:0}
input:focus-visible,select:focus-visible,.grid:focus-visible,pre:focus-visible,
  h2:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
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
.detail s{color:var(--muted)}
.detail td{white-space:pre-wrap;overflow-wrap:anywhere;min-width:110px}
@media(max-width:640px){input[type=search]{width:100%}}
`;

/**
 * Dark colours for readers who prefer them, in `pageStyle`. The report uses `style` alone: it is
 * printed too, and stays light.
 */
const dark = `@media(prefers-color-scheme:dark){
:root{--ink:#e6eaf0;--muted:#a7b2c0;--line:#37414d;--soft:#1b222c;--accent:#62b6e7;--held:#62d3ae;
  --refuted:#f2a679;--bad:#ff9389;color-scheme:dark}
body,.scroll,.finding,.standing{background:#12171e}
input,select{background:#1b222c;border-color:#667382}
.chip{background:#2a333f;color:#c3ccd7}
.grid .head,thead th{background:#1b222c}
mark{background:#5c4512;color:#ffe7b3}
}`;

export const pageStyle = [
  style,
  ...[controls, dark].map((text) => text.replaceAll('\n  ', '')),
].join('\n');
