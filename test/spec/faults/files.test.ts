/** Files that are missing, and specs that extend each other in a circle. */
import { minimal } from '../rig.ts';
import { testFaults } from './check.ts';

testFaults('faults: files', [
  {
    fault: 'a missing data file',
    spec: `name: x
model: { source: "pypi:model" }
data: { train: { source: "file:data/trian.tsv" }, validation: { source: "npm:rows" } }
`,
    files: { 'data/train.tsv': '' },
    shows: `error[missing-file]: there is no file DIR/data/trian.tsv
 --> DIR/spec.yaml:3:26
  |
3 | data: { train: { source: "file:data/trian.tsv" }, validation: { source: "npm:rows" } }
  |                          ^^^^^^^^^^^^^^^^^^^^^
  = did you mean "file:data/train.tsv"?`,
  },
  {
    fault: 'a missing folder',
    spec: `${minimal}head: { init_from: nowhere/adapter }
`,
    shows: `error[missing-file]: there is no file DIR/nowhere/adapter
 --> DIR/spec.yaml:4:20
  |
4 | head: { init_from: nowhere/adapter }
  |                    ^^^^^^^^^^^^^^^
  = there is no folder DIR/nowhere either`,
  },
  {
    fault: 'a missing adapter',
    spec: `${minimal}adapter: { type: lora, init_from: adaptr }
`,
    files: { 'adapter/x': '' },
    shows: `error[missing-file]: there is no file DIR/adaptr
 --> DIR/spec.yaml:4:35
  |
4 | adapter: { type: lora, init_from: adaptr }
  |                                   ^^^^^^
  = did you mean "adapter"?`,
  },
  {
    fault: 'a missing plugin module',
    spec: `${minimal}plugins: [./attack.mjs]
`,
    shows: `error[missing-file]: there is no file DIR/attack.mjs
 --> DIR/spec.yaml:4:11
  |
4 | plugins: [./attack.mjs]
  |           ^^^^^^^^^^^^`,
  },
  {
    fault: 'a base that the installed package has',
    spec: `${minimal}extends: pipelines/spam.yaml
`,
    files: { 'node_modules/dosimeter/pipelines/spam.yaml': 'seeds: [1]\n' },
    shows: `error[missing-file]: there is no file DIR/pipelines/spam.yaml
 --> DIR/spec.yaml:4:10
  |
4 | extends: pipelines/spam.yaml
  |          ^^^^^^^^^^^^^^^^^^^
  = dosimeter's own file is node_modules/dosimeter/pipelines/spam.yaml`,
  },
  {
    fault: 'a missing base',
    spec: `${minimal}extends: bse.yaml
`,
    files: { 'base.yaml': 'seeds: [1]\n' },
    shows: `error[missing-file]: there is no file DIR/bse.yaml
 --> DIR/spec.yaml:4:10
  |
4 | extends: bse.yaml
  |          ^^^^^^^^
  = did you mean "base.yaml"?`,
  },
  {
    fault: 'a base with a fault',
    spec: `${minimal}extends: base2.yaml
`,
    files: { 'base2.yaml': 'train: { stps: 1 }\n' },
    shows: `error[unknown-key]: unknown key "stps" in "train"
 --> DIR/base2.yaml:1:10
  |
1 | train: { stps: 1 }
  |          ^^^^
  = did you mean "steps"?`,
  },
  {
    fault: 'bases in a circle',
    spec: `${minimal}extends: ring.yaml
`,
    files: { 'ring.yaml': 'extends: [spec.yaml]\n' },
    shows: `error[cycle]: DIR/spec.yaml extends itself: spec.yaml → ring.yaml → spec.yaml
 --> DIR/ring.yaml:1:11
  |
1 | extends: [spec.yaml]
  |           ^^^^^^^^^`,
  },
  {
    fault: 'a base that is not a file name',
    spec: `${minimal}extends: { file: base.yaml }
`,
    shows: `error[wrong-type]: "extends" must be a file name or a list of file names
 --> DIR/spec.yaml:4:10
  |
4 | extends: { file: base.yaml }
  |          ^^^^^^^^^^^^^^^^^^^`,
  },
]).run();
