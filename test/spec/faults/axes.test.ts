/** Faulty axes, and fields that exclude each other. */
import { minimal } from '../rig.ts';
import { testFaults } from './check.ts';

testFaults('faults: axes', [
  {
    fault: 'an axis without values',
    spec: `${minimal}adapter: { type: lora, rank: [] }
`,
    shows: `error[empty-value]: "adapter.rank" must not be empty
 --> DIR/spec.yaml:4:30
  |
4 | adapter: { type: lora, rank: [] }
  |                              ^^`,
  },
  {
    fault: 'an axis of an axis',
    spec: `${minimal}adapter: { type: lora, rank: [[4, 8]] }
`,
    shows: `error[wrong-type]: "adapter.rank" must be a whole number of at least 1, not a list
 --> DIR/spec.yaml:4:31
  |
4 | adapter: { type: lora, rank: [[4, 8]] }
  |                               ^^^^^^`,
  },
  {
    fault: 'an unknown form of axis',
    spec: `${minimal}adapter: { type: lora, rank: { linspce: [4, 8, 2] } }
`,
    shows: `error[bad-axis]: "adapter.rank" has no axis form "linspce"
 --> DIR/spec.yaml:4:32
  |
4 | adapter: { type: lora, rank: { linspce: [4, 8, 2] } }
  |                                ^^^^^^^
  = did you mean "linspace"?`,
  },
  {
    fault: 'two forms of axis',
    spec: `${minimal}adapter: { type: lora, rank: { linspace: [4, 8, 2], range: [1, 2, 1] } }
`,
    shows: `error[bad-axis]: "adapter.rank" can't have "linspace" and "range" at once
 --> DIR/spec.yaml:4:53
  |
4 | adapter: { type: lora, rank: { linspace: [4, 8, 2], range: [1, 2, 1] } }
  |                                                     ^^^^^
  = an axis has one form`,
  },
  {
    fault: 'an axis rule with two numbers',
    spec: `${minimal}poisoning: { attack: badnets, rate: { linspace: [0, 1] } }
`,
    shows: `error[bad-axis]: "poisoning.rate": linspace takes three numbers, [from, to, n]
 --> DIR/spec.yaml:4:49
  |
4 | poisoning: { attack: badnets, rate: { linspace: [0, 1] } }
  |                                                 ^^^^^^`,
  },
  {
    fault: 'a fraction for the number of values',
    spec: `${minimal}poisoning: { attack: badnets, rate: { linspace: [0, 1, 2.5] } }
`,
    shows: `error[bad-axis]: "poisoning.rate": linspace takes a whole number of values, not 2.5
 --> DIR/spec.yaml:4:49
  |
4 | poisoning: { attack: badnets, rate: { linspace: [0, 1, 2.5] } }
  |                                                 ^^^^^^^^^^^`,
  },
  {
    fault: 'a range that never arrives',
    spec: `${minimal}adapter: { type: lora, rank: { range: [8, 4, 1] } }
`,
    shows: `error[bad-axis]: "adapter.rank": range never gets from 8 to 4 in steps of 1
 --> DIR/spec.yaml:4:39
  |
4 | adapter: { type: lora, rank: { range: [8, 4, 1] } }
  |                                       ^^^^^^^^^`,
  },
  {
    fault: 'exponents as the ends of a logspace',
    spec: `${minimal}train: { learning_rate: { logspace: [-5, -3, 3] } }
`,
    shows: `error[bad-axis]: "train.learning_rate": logspace needs both ends above 0, not -5 and -3
 --> DIR/spec.yaml:4:37
  |
4 | train: { learning_rate: { logspace: [-5, -3, 3] } }
  |                                     ^^^^^^^^^^^
  = its ends are values, not exponents: [1.0e-5, 1.0e-3, 3]`,
  },
  {
    fault: 'an axis with fractions of a rank',
    spec: `${minimal}adapter: { type: lora, rank: { linspace: [1, 4, 3] } }
`,
    shows: `error[wrong-type]: "adapter.rank" must be a whole number of at least 1, not 2.5
 --> DIR/spec.yaml:4:30
  |
4 | adapter: { type: lora, rank: { linspace: [1, 4, 3] } }
  |                              ^^^^^^^^^^^^^^^^^^^^^^^`,
  },
  {
    fault: 'a seed axis by rule',
    spec: `${minimal}seeds: { range: [1, 5, 1] }
`,
    shows: `error[wrong-type]: "seeds" must be a list of whole numbers of at least 0 or a range such as 1..5, not a mapping
 --> DIR/spec.yaml:4:8
  |
4 | seeds: { range: [1, 5, 1] }
  |        ^^^^^^^^^^^^^^^^^^^^`,
  },
  {
    fault: 'a range of seeds in another form',
    spec: `${minimal}seeds: 1-5
`,
    shows: `error[unknown-value]: "seeds" must be a list of whole numbers of at least 0 or a range such as 1..5, not "1-5"
 --> DIR/spec.yaml:4:8
  |
4 | seeds: 1-5
  |        ^^^`,
  },
  {
    fault: 'a range of seeds that ends before it begins',
    spec: `${minimal}seeds: 5..1
`,
    shows: `error[bad-axis]: "seeds": range never gets from 5 to 1 in steps of 1
 --> DIR/spec.yaml:4:8
  |
4 | seeds: 5..1
  |        ^^^^`,
  },
  {
    fault: 'epochs and steps',
    spec: `${minimal}train: { steps: 5, epochs: 1 }
`,
    shows: `error[conflicting-keys]: "train.epochs" and "train.steps" exclude each other
 --> DIR/spec.yaml:4:20
  |
4 | train: { steps: 5, epochs: 1 }
  |                    ^^^^^^
  = keep one of the two`,
  },
  {
    fault: 'epochs and steps in an adapter',
    spec: `${minimal}adapter: { type: full, train: { epochs: 1, steps: 5 } }
`,
    shows: `error[conflicting-keys]: "adapter.train.epochs" and "adapter.train.steps" exclude each other
 --> DIR/spec.yaml:4:44
  |
4 | adapter: { type: full, train: { epochs: 1, steps: 5 } }
  |                                            ^^^^^
  = keep one of the two`,
  },
]).run();
