/** Reads on paper as on a screen: black on white, no fonts from elsewhere, rows that are not cut in two. */
export const style = `
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 2rem auto; max-width: 62rem; padding: 0 1.25rem; font: 15px/1.5 system-ui, sans-serif; color: #16181d; background: #fff; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .75rem; padding-bottom: .25rem; border-bottom: 2px solid #16181d; break-after: avoid; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; break-after: avoid; }
p { margin: .35rem 0; }
.quiet { color: #555b66; }
table { width: 100%; border-collapse: collapse; margin: .5rem 0 1rem; font-size: 13.5px; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid #d5d8de; overflow-wrap: anywhere; }
th { font-weight: 600; }
table.facts th { width: 12rem; color: #555b66; font-weight: 500; }
td:not(:first-child, :last-child) { min-width: 5.5rem; }
thead { display: table-header-group; }
tr, .step { break-inside: avoid; }
code, pre { font: 12.5px/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { margin: .25rem 0; padding: .5rem .6rem; background: #f4f5f7; border-left: 3px solid #c3c8d1; white-space: pre-wrap; unicode-bidi: plaintext; }
.step { margin: .75rem 0; padding: .6rem .8rem; border: 1px solid #d5d8de; border-left: 4px solid #8a919e; }
.step.ok { border-left-color: #1a7f45; }
.step.denied, .step.waiting { border-left-color: #b26a00; }
.step.failed { border-left-color: #b3261e; }
.verdict { padding: .6rem .8rem; border: 2px solid #1a7f45; margin: .75rem 0; }
.verdict.bad { border-color: #b3261e; }
.verdict.open { border-color: #8a919e; }
ul { margin: .25rem 0; padding-left: 1.2rem; }
@page { margin: 16mm; }
@media print {
  body { margin: 0; max-width: none; padding: 0; font-size: 10.5pt; }
  .step, .verdict, pre { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2.page { break-before: page; }
}
`
