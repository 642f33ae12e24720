/** Keys that are missing, misspelt or in the wrong place. */
import { minimal } from '../rig.ts';
import { testFaults } from './check.ts';

testFaults('faults: keys', [
  {
    fault: 'a spec of only a name',
    spec: `name: lonely
`,
    shows: `error[missing-key]: "model" is missing
 --> DIR/spec.yaml:1:1
  |
1 | name: lonely
  | ^^^^^^^^^^^^
  = The model that is fine-tuned

error[missing-key]: "data" is missing
 --> DIR/spec.yaml:1:1
  |
1 | name: lonely
  | ^^^^^^^^^^^^
  = The training and validation rows`,
  },
  {
    fault: 'a split without its source',
    spec: `name: x
model: { source: "pypi:model" }
data:
  train: { source: "npm:rows" }
  validation: { limit: 5 }
`,
    shows: `error[missing-key]: "data.validation.source" is missing
 --> DIR/spec.yaml:5:3
  |
5 |   validation: { limit: 5 }
  |   ^^^^^^^^^^
  = \`file:PATH\` (relative to this spec), \`npm:PACKAGE[@VERSION]\`, \`pypi:PACKAGE[==VERSION]\` or \`hf:OWNER/NAME[@REVISION]\`; a file inside a package follows after \`#\``,
  },
  {
    fault: 'names that no task may have, and a misspelt field of one',
    spec: `name: x
model: { source: "pypi:model" }
data:
  train: { source: "npm:rows" }
  validation: { source: "npm:rows" }
  tasks:
    My task: { source: "npm:rows" }
    asr: { source: "npm:rows" }
    kappa: { source: "npm:rows" }
    mail: { source: "npm:rows", limt: 5 }
`,
    shows: `error[bad-name]: "My task" is no name of a task: its metrics would begin with it
 --> DIR/spec.yaml:7:5
  |
7 |     My task: { source: "npm:rows" }
  |     ^^^^^^^
  = lower-case letters, digits and dashes

error[bad-name]: a task can't be called "asr": a metric of evaluate is
 --> DIR/spec.yaml:8:5
  |
8 |     asr: { source: "npm:rows" }
  |     ^^^
  = give it another name

error[bad-name]: a task can't be called "kappa": a metric of evaluate is
 --> DIR/spec.yaml:9:5
  |
9 |     kappa: { source: "npm:rows" }
  |     ^^^^^
  = give it another name

error[unknown-key]: unknown key "limt" in "data.tasks.mail"
  --> DIR/spec.yaml:10:33
   |
10 |     mail: { source: "npm:rows", limt: 5 }
   |                                 ^^^^
   = did you mean "limit"?`,
  },
  {
    fault: 'an unknown section',
    spec: `${minimal}trian: { steps: 5 }
`,
    shows: `error[unknown-key]: unknown key "trian"
 --> DIR/spec.yaml:4:1
  |
4 | trian: { steps: 5 }
  | ^^^^^
  = did you mean "train"?`,
  },
  {
    fault: 'a key of another section',
    spec: `${minimal}learning_rate: 0.1
`,
    shows: `error[unknown-key]: unknown key "learning_rate"
 --> DIR/spec.yaml:4:1
  |
4 | learning_rate: 0.1
  | ^^^^^^^^^^^^^
  = did you mean "train.learning_rate"?`,
  },
  {
    fault: 'a key that others have, of which the shortest is the likeliest',
    spec: `${minimal}fisher: { rows: 6 }
`,
    shows: `error[unknown-key]: unknown key "rows" in "fisher"
 --> DIR/spec.yaml:4:11
  |
4 | fisher: { rows: 6 }
  |           ^^^^
  = did you mean "ntk.rows", "data.train.sample.rows", "data.validation.sample.rows" or "data.clean.sample.rows"?`,
  },
  {
    fault: 'a key that two other sections have',
    spec: `${minimal}batch_size: 8
`,
    shows: `error[unknown-key]: unknown key "batch_size"
 --> DIR/spec.yaml:4:1
  |
4 | batch_size: 8
  | ^^^^^^^^^^
  = did you mean "train.batch_size" or "evaluate.batch_size"?`,
  },
  {
    fault: 'a parameter at the top',
    spec: `${minimal}rank: 8
`,
    shows: `error[unknown-key]: unknown key "rank"
 --> DIR/spec.yaml:4:1
  |
4 | rank: 8
  | ^^^^
  = did you mean "adapter.rank"?`,
  },
  {
    fault: 'a key that belongs one level down',
    spec: `name: x
model: { source: "pypi:model" }
data:
  train: { source: "npm:rows", label: 3 }
  validation: { source: "npm:rows" }
`,
    shows: `error[unknown-key]: unknown key "label" in "data.train"
 --> DIR/spec.yaml:4:32
  |
4 |   train: { source: "npm:rows", label: 3 }
  |                                ^^^^^
  = did you mean "data.train.columns.label"?`,
  },
  {
    fault: 'a misspelt key',
    spec: `${minimal}train: { learning-rate: 0.1 }
`,
    shows: `error[unknown-key]: unknown key "learning-rate" in "train"
 --> DIR/spec.yaml:4:10
  |
4 | train: { learning-rate: 0.1 }
  |          ^^^^^^^^^^^^^
  = did you mean "learning_rate"?`,
  },
  {
    fault: 'a key that resembles no other',
    spec: `${minimal}ntk: { colour: red }
`,
    shows: `error[unknown-key]: unknown key "colour" in "ntk"
 --> DIR/spec.yaml:4:8
  |
4 | ntk: { colour: red }
  |        ^^^^^^
  = its keys are rows, split, kernels, method, projection, per_layer, memory_mb and at`,
  },
  {
    fault: 'a misspelt key in a nested parameter',
    spec: `${minimal}adapter: { type: lora, init: { varience: 1 } }
`,
    shows: `error[unknown-key]: unknown key "varience" in "adapter.init"
 --> DIR/spec.yaml:4:32
  |
4 | adapter: { type: lora, init: { varience: 1 } }
  |                                ^^^^^^^^
  = did you mean "variance"?`,
  },
  {
    fault: 'a parameter of another adapter',
    spec: `${minimal}adapter:
  - { type: lora, rank: 8 }
  - { type: full, rank: 8 }
`,
    shows: `error[unknown-key]: adapter "full" takes no "rank"
 --> DIR/spec.yaml:6:19
  |
6 |   - { type: full, rank: 8 }
  |                   ^^^^
  = "rank" belongs to "lora"`,
  },
  {
    fault: 'a parameter of other attacks',
    spec: `${minimal}poisoning: { attack: none, rate: 0.1 }
`,
    shows: `error[unknown-key]: attack "none" takes no "rate"
 --> DIR/spec.yaml:4:28
  |
4 | poisoning: { attack: none, rate: 0.1 }
  |                            ^^^^
  = "rate" belongs to "label-flip" and "badnets"`,
  },
  {
    fault: 'a misspelt parameter',
    spec: `${minimal}poisoning: { attack: badnets, rat: 0.1 }
`,
    shows: `error[unknown-key]: attack "badnets" takes no "rat"
 --> DIR/spec.yaml:4:31
  |
4 | poisoning: { attack: badnets, rat: 0.1 }
  |                               ^^^
  = did you mean "rate"?`,
  },
  {
    fault: 'a parameter that no attack has',
    spec: `${minimal}poisoning: { attack: badnets, position: start }
`,
    shows: `error[unknown-key]: attack "badnets" takes no "position"
 --> DIR/spec.yaml:4:31
  |
4 | poisoning: { attack: badnets, position: start }
  |                               ^^^^^^^^
  = its parameters are rate, target and triggers`,
  },
  {
    fault: 'a parameter that is a property of every object',
    spec: `${minimal}poisoning: { attack: badnets, constructor: x }
`,
    shows: `error[unknown-key]: attack "badnets" takes no "constructor"
 --> DIR/spec.yaml:4:31
  |
4 | poisoning: { attack: badnets, constructor: x }
  |                               ^^^^^^^^^^^
  = its parameters are rate, target and triggers`,
  },
  {
    fault: 'a field of train in an adapter',
    spec: `${minimal}adapter: { type: full, learning_rate: 0.1 }
`,
    shows: `error[unknown-key]: adapter "full" takes no "learning_rate"
 --> DIR/spec.yaml:4:24
  |
4 | adapter: { type: full, learning_rate: 0.1 }
  |                        ^^^^^^^^^^^^^
  = did you mean "train.learning_rate"?`,
  },
  {
    fault: 'a misspelt override',
    spec: `${minimal}adapter: { type: full, train: { learning_rat: 0.1 } }
`,
    shows: `error[unknown-key]: unknown key "learning_rat" in "adapter.train"
 --> DIR/spec.yaml:4:33
  |
4 | adapter: { type: full, train: { learning_rat: 0.1 } }
  |                                 ^^^^^^^^^^^^
  = did you mean "learning_rate"?`,
  },
]).run();
