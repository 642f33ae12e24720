/** Values of the wrong type, and words that are not among those expected. */
import { minimal } from '../rig.ts';
import { testFaults } from './check.ts';

testFaults('faults: types', [
  {
    fault: 'a word for a number',
    spec: `${minimal}train: { batch_size: eight }
`,
    shows: `error[wrong-type]: "train.batch_size" must be a whole number of at least 1, not "eight"
 --> DIR/spec.yaml:4:22
  |
4 | train: { batch_size: eight }
  |                      ^^^^^`,
  },
  {
    fault: 'a number in quotes',
    spec: `${minimal}train: { batch_size: "8" }
`,
    shows: `error[wrong-type]: "train.batch_size" must be a whole number of at least 1, not "8"
 --> DIR/spec.yaml:4:22
  |
4 | train: { batch_size: "8" }
  |                      ^^^
  = without quotes: 8`,
  },
  {
    fault: 'a fraction for a whole number',
    spec: `${minimal}train: { batch_size: 8.5 }
`,
    shows: `error[wrong-type]: "train.batch_size" must be a whole number of at least 1, not 8.5
 --> DIR/spec.yaml:4:22
  |
4 | train: { batch_size: 8.5 }
  |                      ^^^`,
  },
  {
    fault: 'a boolean of YAML 1.1',
    spec: `${minimal}train: { shuffle: no }
`,
    shows: `error[wrong-type]: "train.shuffle" must be true or false, not "no"
 --> DIR/spec.yaml:4:19
  |
4 | train: { shuffle: no }
  |                   ^^
  = write false`,
  },
  {
    fault: 'one seed that is not in a list',
    spec: `${minimal}seeds: 1
`,
    shows: `error[wrong-type]: "seeds" must be a list of whole numbers of at least 0 or a range such as 1..5, not 1
 --> DIR/spec.yaml:4:8
  |
4 | seeds: 1
  |        ^
  = as a list: [1]`,
  },
  {
    fault: 'a number for a name',
    spec: `name: 5
model: { source: "pypi:model" }
data: { train: { source: "npm:rows" }, validation: { source: "npm:rows" } }
`,
    shows: `error[wrong-type]: "name" must be text, not 5
 --> DIR/spec.yaml:1:7
  |
1 | name: 5
  |       ^
  = in quotes: "5"`,
  },
  {
    fault: 'a number that is no word in quotes either',
    spec: `${minimal}adapter: { type: lora, rank: 4, alpha: 0 }
`,
    shows: `error[unknown-value]: "adapter.alpha" must be a number above 0 or "r", not 0
 --> DIR/spec.yaml:4:40
  |
4 | adapter: { type: lora, rank: 4, alpha: 0 }
  |                                        ^`,
  },
  {
    fault: 'a list for a name',
    spec: `name: [a, b]
model: { source: "pypi:model" }
data: { train: { source: "npm:rows" }, validation: { source: "npm:rows" } }
`,
    shows: `error[wrong-type]: "name" must be text, not a list
 --> DIR/spec.yaml:1:7
  |
1 | name: [a, b]
  |       ^^^^^^`,
  },
  {
    fault: 'a name that is not a file name',
    spec: `name: my experiment
model: { source: "pypi:model" }
data: { train: { source: "npm:rows" }, validation: { source: "npm:rows" } }
`,
    shows: `error[wrong-form]: "name" has the wrong form: "my experiment"
 --> DIR/spec.yaml:1:7
  |
1 | name: my experiment
  |       ^^^^^^^^^^^^^
  = it must match /^[A-Za-z0-9][A-Za-z0-9._-]*$/`,
  },
  {
    fault: 'an empty section',
    spec: `${minimal}train:
`,
    shows: `error[wrong-type]: "train" must be a mapping, not nothing
 --> DIR/spec.yaml:4:7
  |
4 | train:
  |       ^
  = leave the field out for its default`,
  },
  {
    fault: 'a word for a section',
    spec: `${minimal}train: fast
`,
    shows: `error[wrong-type]: "train" must be a mapping, not "fast"
 --> DIR/spec.yaml:4:8
  |
4 | train: fast
  |        ^^^^`,
  },
  {
    fault: 'a word for a variant',
    spec: `${minimal}adapter: lora
`,
    shows: `error[wrong-type]: "adapter" must be a mapping or a list, not "lora"
 --> DIR/spec.yaml:4:10
  |
4 | adapter: lora
  |          ^^^^
  = write { type: lora }`,
  },
  {
    fault: 'a list of words for variants',
    spec: `${minimal}adapter: [full, lora]
`,
    shows: `error[wrong-type]: "adapter" must be a mapping, not "full"
 --> DIR/spec.yaml:4:11
  |
4 | adapter: [full, lora]
  |           ^^^^
  = write { type: full }

error[wrong-type]: "adapter" must be a mapping, not "lora"
 --> DIR/spec.yaml:4:17
  |
4 | adapter: [full, lora]
  |                 ^^^^
  = write { type: lora }`,
  },
  {
    fault: 'no variants',
    spec: `${minimal}adapter: []
`,
    shows: `error[empty-value]: "adapter" must not be empty
 --> DIR/spec.yaml:4:10
  |
4 | adapter: []
  |          ^^`,
  },
  {
    fault: 'a mapping for a word',
    spec: `${minimal}train: { optimizer: { name: adamw } }
`,
    shows: `error[wrong-type]: "train.optimizer" must be "adamw" or "sgd", not a mapping
 --> DIR/spec.yaml:4:21
  |
4 | train: { optimizer: { name: adamw } }
  |                     ^^^^^^^^^^^^^^^`,
  },
  {
    fault: 'a word that is not among the values',
    spec: `${minimal}train: { optimizer: adam }
`,
    shows: `error[unknown-value]: "train.optimizer" must be "adamw" or "sgd", not "adam"
 --> DIR/spec.yaml:4:21
  |
4 | train: { optimizer: adam }
  |                     ^^^^
  = did you mean "adamw"?`,
  },
  {
    fault: 'a misspelt schedule',
    spec: `${minimal}train: { schedule: costant }
`,
    shows: `error[unknown-value]: "train.schedule" must be "constant", "linear" or "cosine", not "costant"
 --> DIR/spec.yaml:4:20
  |
4 | train: { schedule: costant }
  |                    ^^^^^^^
  = did you mean "constant"?`,
  },
  {
    fault: 'neither the number nor the word that are expected',
    spec: `${minimal}adapter: { type: lora, alpha: q }
`,
    shows: `error[unknown-value]: "adapter.alpha" must be a number above 0 or "r", not "q"
 --> DIR/spec.yaml:4:31
  |
4 | adapter: { type: lora, alpha: q }
  |                               ^
  = did you mean "r"?`,
  },
  {
    fault: 'neither the word nor the list that are expected',
    spec: `${minimal}adapter: { type: lora, targets: all-liner }
`,
    shows: `error[unknown-value]: "adapter.targets" must be "all-linear" or a list of texts, not "all-liner"
 --> DIR/spec.yaml:4:33
  |
4 | adapter: { type: lora, targets: all-liner }
  |                                 ^^^^^^^^^
  = did you mean "all-linear"?`,
  },
  {
    fault: 'a wrong entry of a list',
    spec: `${minimal}adapter: { type: lora, targets: [query, 5] }
`,
    shows: `error[wrong-type]: "adapter.targets" must be text, not 5
 --> DIR/spec.yaml:4:41
  |
4 | adapter: { type: lora, targets: [query, 5] }
  |                                         ^
  = in quotes: "5"`,
  },
]).run();
