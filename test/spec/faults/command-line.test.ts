/** Faults in `--set`, `--only` and patterns. */
import { minimal } from '../rig.ts';
import { testFaults } from './check.ts';

const profiled = `${minimal}profiles:
  small: { train: { stesp: 4 } }
  tiny: { seeds: [1], train: { steps: none } }
`;

testFaults('faults: command-line', [
  {
    fault: 'a --profile that the spec does not have',
    spec: profiled,
    options: { profile: 'smal' },
    shows: `error[unknown-profile]: there is no profile "smal"
 --> --profile:1:1
  |
1 | smal
  | ^^^^
  = did you mean "small"?`,
  },
  {
    fault: 'a --profile that is like none of the spec',
    spec: profiled,
    options: { profile: 'paper' },
    shows: `error[unknown-profile]: there is no profile "paper"
 --> --profile:1:1
  |
1 | paper
  | ^^^^^
  = the profiles of this spec are small and tiny`,
  },
  {
    fault: 'a --profile for a spec without any',
    spec: minimal,
    options: { profile: 'small' },
    shows: `error[unknown-profile]: there is no profile "small"
 --> --profile:1:1
  |
1 | small
  | ^^^^^
  = the spec has no \`profiles\``,
  },
  {
    fault: 'an unknown field of the chosen profile',
    spec: profiled,
    options: { profile: 'small' },
    shows: `error[unknown-key]: unknown key "stesp" in "train"
 --> DIR/spec.yaml:5:21
  |
5 |   small: { train: { stesp: 4 } }
  |                     ^^^^^
  = did you mean "steps"?`,
  },
  {
    fault: 'a wrong value in the chosen profile',
    spec: profiled,
    options: { profile: 'tiny' },
    shows: `error[wrong-type]: "train.steps" must be a whole number of at least 0, not "none"
 --> DIR/spec.yaml:6:39
  |
6 |   tiny: { seeds: [1], train: { steps: none } }
  |                                       ^^^^`,
  },
  {
    fault: 'profiles of a wrong form, whichever is chosen',
    spec: `${minimal}profiles: { paper: , small: { extends: base.yaml }, tiny: [1] }
`,
    shows: `error[wrong-type]: the profile "paper" must be a mapping of fields
 --> DIR/spec.yaml:4:20
  |
4 | profiles: { paper: , small: { extends: base.yaml }, tiny: [1] }
  |                    ^
  = one that changes nothing is written {}

error[misplaced-field]: a profile can't have "extends"
 --> DIR/spec.yaml:4:31
  |
4 | profiles: { paper: , small: { extends: base.yaml }, tiny: [1] }
  |                               ^^^^^^^
  = write it in the spec

error[wrong-type]: the profile "tiny" must be a mapping of fields
 --> DIR/spec.yaml:4:59
  |
4 | profiles: { paper: , small: { extends: base.yaml }, tiny: [1] }
  |                                                           ^^^
  = one that changes nothing is written {}`,
  },
  {
    fault: 'profiles that are no mapping',
    spec: `${minimal}profiles: [small]
`,
    shows: `error[wrong-type]: "profiles" must be a mapping, from names to fields
 --> DIR/spec.yaml:4:11
  |
4 | profiles: [small]
  |           ^^^^^^^`,
  },
  {
    fault: 'a --set of a profile',
    spec: profiled,
    options: { sets: ['profiles.small.seeds=[2]'] },
    shows: `error[bad-set]: --set can't change a profile
 --> --set:1:1
  |
1 | profiles.small.seeds=[2]
  | ^^^^^^^^^^^^^^^^^^^^^^^^
  = it sets a field of the spec, over those of --profile: for example --set train.learning_rate=1.0e-4, or --set adapter.rank=[4, 8]`,
  },
  {
    fault: 'a --set without a value',
    spec: minimal,
    options: { sets: ['train.steps'] },
    shows: `error[bad-set]: --set takes path=value
 --> --set:1:1
  |
1 | train.steps
  | ^^^^^^^^^^^
  = for example --set train.learning_rate=1.0e-4, or --set adapter.rank=[4, 8]`,
  },
  {
    fault: 'a --set that would remove what the spec does not have',
    spec: `${minimal}commands:
  probe: { run: [probe], outputs: [metrics.json], options: { level: 1 } }
`,
    options: {
      sets: ['commands.probe.options.level=', 'commands.probe.options.lvel=', 'train.steps=null'],
    },
    shows: `error[bad-set]: an empty or null value removes a field, and the spec has no "commands.probe.options.lvel"
 --> --set:1:1
  |
1 | commands.probe.options.lvel=
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = leave this --set out, or give it a value; "" is an empty text

error[bad-set]: an empty or null value removes a field, and the spec has no "train.steps"
 --> --set:1:1
  |
1 | train.steps=null
  | ^^^^^^^^^^^
  = leave this --set out, or give it a value; "" is an empty text`,
  },
  {
    fault: 'a --set of an unknown field',
    spec: minimal,
    options: { sets: ['train.stesp=5'] },
    shows: `error[unknown-key]: unknown key "stesp" in "train"
 --> --set:1:1
  |
1 | train.stesp=5
  | ^^^^^^^^^^^
  = did you mean "steps"?`,
  },
  {
    fault: 'a --set of a wrong value',
    spec: minimal,
    options: { sets: ['train.steps=many'] },
    shows: `error[wrong-type]: "train.steps" must be a whole number of at least 0, not "many"
 --> --set:1:13
  |
1 | train.steps=many
  |             ^^^^`,
  },
  {
    fault: 'a --set that is not YAML',
    spec: minimal,
    options: { sets: ['adapter.rank=[4, 8'] },
    shows: `error[yaml-syntax]: not YAML: a closing ] is missing
 --> --set:1:18
  |
1 | adapter.rank=[4, 8
  |                  ^`,
  },
  {
    fault: 'a --set that names no entry of a list',
    spec: `${minimal}adapter: [{ type: full }, { type: lora }]
`,
    options: { sets: ['adapter.rank=8'] },
    shows: `error[bad-set]: "adapter" is a list: --set needs one of its entries (0 … 1) before "rank"
 --> --set:1:1
  |
1 | adapter.rank=8
  | ^^^^^^^^^^^^
  = or set the whole list: --set adapter=[…]`,
  },
  {
    fault: 'a pattern of an unknown field',
    spec: `${minimal}exclude: [{ ranks: 8 }]
`,
    shows: `error[unknown-key]: there is no field "ranks" to match
 --> DIR/spec.yaml:4:13
  |
4 | exclude: [{ ranks: 8 }]
  |             ^^^^^
  = did you mean "adapter.rank"?`,
  },
  {
    fault: 'a pattern of a field that is a property of every object',
    spec: `${minimal}exclude: [{ constructor: 8 }]
`,
    shows: `error[unknown-key]: there is no field "constructor" to match
 --> DIR/spec.yaml:4:13
  |
4 | exclude: [{ constructor: 8 }]
  |             ^^^^^^^^^^^
  = a pattern names fields in full, such as "adapter.rank" or "poisoning.attack"`,
  },
  {
    fault: 'a pattern whose field could be one of two',
    spec: `${minimal}include: [{ batch_size: 8 }]
`,
    shows: `error[unknown-key]: "batch_size" could mean several fields
 --> DIR/spec.yaml:4:13
  |
4 | include: [{ batch_size: 8 }]
  |             ^^^^^^^^^^
  = did you mean "train.batch_size" or "evaluate.batch_size"?`,
  },
  {
    fault: 'a pattern that never matches',
    spec: `${minimal}adapter: { type: lora, rank: [4, 8] }
exclude: [{ adapter.rank: 16 }]
`,
    shows: `error[matches-nothing]: this matches no cell of the grid
 --> DIR/spec.yaml:5:11
  |
5 | exclude: [{ adapter.rank: 16 }]
  |           ^^^^^^^^^^^^^^^^^^^^
  = compare its values with those of the axes`,
  },
  {
    fault: 'a pattern with a wrong bound',
    spec: `${minimal}exclude: [{ train.steps: { above: 5 } }]
`,
    shows: `error[unknown-key]: unknown key "above" in "exclude.train.steps"
 --> DIR/spec.yaml:4:28
  |
4 | exclude: [{ train.steps: { above: 5 } }]
  |                            ^^^^^
  = its keys are min and max`,
  },
  {
    fault: 'a condition that never holds',
    spec: `${minimal}poisoning: [{ attack: none }, { attack: badnets, when: { adapter.type: lora } }]
`,
    shows: `error[matches-nothing]: this matches no cell of the grid
 --> DIR/spec.yaml:4:56
  |
4 | poisoning: [{ attack: none }, { attack: badnets, when: { adapter.type: lora } }]
  |                                                        ^^^^^^^^^^^^^^^^^^^^^^
  = compare its values with those of the axes`,
  },
  {
    fault: 'an empty pattern',
    spec: `${minimal}include: [{}]
`,
    shows: `error[empty-value]: "include" must not be empty
 --> DIR/spec.yaml:4:11
  |
4 | include: [{}]
  |           ^^`,
  },
  {
    fault: 'everything excluded',
    spec: `${minimal}exclude: [{ poisoning.attack: none }]
`,
    shows: `error[empty-grid]: no cell is left
 --> DIR/spec.yaml:1:1
  |
1 | name: small
  | ^^^^
  = include, exclude and when together leave out every cell`,
  },
  {
    fault: 'an unknown tag',
    spec: `${minimal}tags: { quick: { seed: 1 } }
`,
    options: { only: ['quik'] },
    shows: `error[unknown-tag]: there is no tag "quik"
 --> --only:1:1
  |
1 | quik
  | ^^^^
  = did you mean "quick"?`,
  },
  {
    fault: 'an --only of an unknown field',
    spec: minimal,
    options: { only: ['ranks=8'] },
    shows: `error[unknown-key]: there is no field "ranks" to match
 --> --only:1:1
  |
1 | ranks=8
  | ^^^^^
  = did you mean "adapter.rank"?`,
  },
  {
    fault: 'an --only whose field could be one of two',
    spec: minimal,
    options: { only: ['batch_size=8'] },
    shows: `error[unknown-key]: "batch_size" could mean several fields
 --> --only:1:1
  |
1 | batch_size=8
  | ^^^^^^^^^^
  = did you mean "train.batch_size" or "evaluate.batch_size"?`,
  },
  {
    fault: 'an --only that matches no cell',
    spec: minimal,
    options: { only: ['attack=badnets'] },
    shows: `error[empty-grid]: no cell matches this
 --> --only:1:1
  |
1 | attack=badnets
  | ^^^^^^^^^^^^^^
  = "poisoning.attack" is "none"`,
  },
  {
    fault: 'two --only with values that no axis has, beside one that matches',
    spec: `${minimal}adapter: { type: lora, rank: [4, 8] }
`,
    options: { only: ['rank=8', 'rank=16', 'seed=2'] },
    shows: `error[empty-grid]: no cell matches this
 --> --only:1:1
  |
1 | rank=16
  | ^^^^^^^
  = "adapter.rank" is 4 or 8

error[empty-grid]: no cell matches this
 --> --only:1:1
  |
1 | seed=2
  | ^^^^^^
  = "seed" is 1`,
  },
  {
    fault: 'an --only of a field that no cell has',
    spec: minimal,
    options: { only: ['rank=8'] },
    shows: `error[empty-grid]: no cell matches this
 --> --only:1:1
  |
1 | rank=8
  | ^^^^^^
  = no cell has "adapter.rank"`,
  },
  {
    fault: 'two --only that match different cells',
    spec: `${minimal}adapter: { type: lora, rank: [4, 8] }
`,
    options: { only: ['rank=4', 'rank=8'] },
    shows: `error[empty-grid]: no cell matches every --only
 --> --only:1:1
  |
1 | rank=8
  | ^^^^^^
  = each of them matches some cell by itself`,
  },
  {
    fault: 'a grid that its axes make too large',
    spec: `${minimal}train: { learning_rate: { linspace: [0.1, 1, 2000] }, weight_decay: { linspace: [0, 1, 2000] } }
`,
    shows: `error[grid-too-large]: the grid has 4000000 cells; at most 100000 can be planned
 --> DIR/spec.yaml:4:25
  |
4 | train: { learning_rate: { linspace: [0.1, 1, 2000] }, weight_decay: { linspace: [0, 1, 2000] } }
  |                         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = shorten its axes, or divide it among several specs: they share results through the store`,
  },
  {
    fault: 'a grid that its seeds make too large',
    spec: `${minimal}train: { learning_rate: { linspace: [0.1, 1, 60000] } }
seeds: [1, 2]
`,
    shows: `error[grid-too-large]: the grid has 120000 cells (60000 at 2 seeds); at most 100000 can be planned
 --> DIR/spec.yaml:4:25
  |
4 | train: { learning_rate: { linspace: [0.1, 1, 60000] } }
  |                         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = shorten its axes, or divide it among several specs: they share results through the store`,
  },
  {
    fault: 'an escape sequence in a value, which is not printed',
    spec: `${minimal}train: { optimizer: "\\e[31mred" }
`,
    shows: `error[unknown-value]: "train.optimizer" must be "adamw" or "sgd", not "\\u001b[31mred"
 --> DIR/spec.yaml:4:21
  |
4 | train: { optimizer: "\\e[31mred" }
  |                     ^^^^^^^^^^^`,
  },
]).run();
