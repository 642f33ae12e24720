/** Values that are out of bounds, too few, or listed twice. */
import { minimal } from '../rig.ts';
import { testFaults } from './check.ts';

testFaults('faults: ranges', [
  {
    fault: 'a rate above one',
    spec: `${minimal}poisoning: { attack: badnets, rate: 1.5 }
`,
    shows: `error[out-of-range]: "poisoning.rate" must be a number from 0 to 1, not 1.5
 --> DIR/spec.yaml:4:37
  |
4 | poisoning: { attack: badnets, rate: 1.5 }
  |                                     ^^^`,
  },
  {
    fault: 'a rate above one on an axis',
    spec: `${minimal}poisoning: { attack: badnets, rate: [0.1, 1.5] }
`,
    shows: `error[out-of-range]: "poisoning.rate" must be a number from 0 to 1, not 1.5
 --> DIR/spec.yaml:4:43
  |
4 | poisoning: { attack: badnets, rate: [0.1, 1.5] }
  |                                           ^^^`,
  },
  {
    fault: 'a rate above one on a spaced axis',
    spec: `${minimal}poisoning: { attack: badnets, rate: { linspace: [0, 2, 3] } }
`,
    shows: `error[out-of-range]: "poisoning.rate" must be a number from 0 to 1, not 2
 --> DIR/spec.yaml:4:37
  |
4 | poisoning: { attack: badnets, rate: { linspace: [0, 2, 3] } }
  |                                     ^^^^^^^^^^^^^^^^^^^^^^^`,
  },
  {
    fault: 'a rate below zero in one of many variants',
    spec: `${minimal}poisoning:
  - { attack: none }
  - { attack: label-flip, rate: -0.1 }
`,
    shows: `error[out-of-range]: "poisoning.rate" must be a number from 0 to 1, not -0.1
 --> DIR/spec.yaml:6:33
  |
6 |   - { attack: label-flip, rate: -0.1 }
  |                                 ^^^^`,
  },
  {
    fault: 'a rank of zero',
    spec: `${minimal}adapter: { type: lora, rank: 0 }
`,
    shows: `error[out-of-range]: "adapter.rank" must be a whole number of at least 1, not 0
 --> DIR/spec.yaml:4:30
  |
4 | adapter: { type: lora, rank: 0 }
  |                              ^`,
  },
  {
    fault: 'a learning rate of zero',
    spec: `${minimal}train: { learning_rate: 0 }
`,
    shows: `error[out-of-range]: "train.learning_rate" must be a number above 0, not 0
 --> DIR/spec.yaml:4:25
  |
4 | train: { learning_rate: 0 }
  |                         ^`,
  },
  {
    fault: 'a beta of one',
    spec: `${minimal}train: { beta1: 1 }
`,
    shows: `error[out-of-range]: "train.beta1" must be a number of at least 0 and below 1, not 1
 --> DIR/spec.yaml:4:17
  |
4 | train: { beta1: 1 }
  |                 ^`,
  },
  {
    fault: 'infinity',
    spec: `${minimal}train: { learning_rate: .inf }
`,
    shows: `error[wrong-type]: "train.learning_rate" must be a number above 0, not Infinity
 --> DIR/spec.yaml:4:25
  |
4 | train: { learning_rate: .inf }
  |                         ^^^^`,
  },
  {
    fault: 'no seeds',
    spec: `${minimal}seeds: []
`,
    shows: `error[empty-value]: "seeds" must not be empty
 --> DIR/spec.yaml:4:8
  |
4 | seeds: []
  |        ^^`,
  },
  {
    fault: 'a seed twice',
    spec: `${minimal}seeds: [1, 2, 1]
`,
    shows: `error[duplicate-value]: "seeds" lists 1 twice
 --> DIR/spec.yaml:4:15
  |
4 | seeds: [1, 2, 1]
  |               ^
  = a value may appear only once`,
  },
  {
    fault: 'one class',
    spec: `name: x
model: { source: "pypi:model" }
data: { train: { source: "npm:rows" }, validation: { source: "npm:rows" }, classes: [spam] }
`,
    shows: `error[too-short]: "data.classes" must be a list of texts or whole numbers with at least 2 entries, not 1
 --> DIR/spec.yaml:3:85
  |
3 | data: { train: { source: "npm:rows" }, validation: { source: "npm:rows" }, classes: [spam] }
  |                                                                                     ^^^^^^`,
  },
  {
    fault: 'a value of an axis twice',
    spec: `${minimal}adapter: { type: lora, rank: [4, 8, 4] }
`,
    shows: `error[duplicate-value]: "adapter.rank" lists 4 twice
 --> DIR/spec.yaml:4:37
  |
4 | adapter: { type: lora, rank: [4, 8, 4] }
  |                                     ^
  = a value may appear only once`,
  },
  {
    fault: 'a value of an axis twice, in two spellings',
    spec: `${minimal}train: { learning_rate: [0.001, 1.0e-3] }
`,
    shows: `error[duplicate-value]: "train.learning_rate" lists 0.001 twice
 --> DIR/spec.yaml:4:33
  |
4 | train: { learning_rate: [0.001, 1.0e-3] }
  |                                 ^^^^^^
  = a value may appear only once`,
  },
]).run();
