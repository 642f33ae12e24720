/** Faults in composed attacks. */
import { minimal } from '../rig.ts';
import { testFaults } from './check.ts';

testFaults('faults: steps', [
  {
    fault: 'an attack beside its steps',
    spec: `${minimal}poisoning: { attack: badnets, steps: [{ attack: label-flip }] }
`,
    shows: `error[conflicting-keys]: "poisoning.attack" and "poisoning.steps" exclude each other
 --> DIR/spec.yaml:4:31
  |
4 | poisoning: { attack: badnets, steps: [{ attack: label-flip }] }
  |                               ^^^^^
  = keep one of the two`,
  },
  {
    fault: 'a parameter beside the steps',
    spec: `${minimal}poisoning: { rate: 0.1, steps: [{ attack: label-flip }, { attack: badnets }] }
`,
    shows: `error[unknown-key]: "rate" can't be given beside "steps"
 --> DIR/spec.yaml:4:14
  |
4 | poisoning: { rate: 0.1, steps: [{ attack: label-flip }, { attack: badnets }] }
  |              ^^^^
  = an attack's parameters belong to its step`,
  },
  {
    fault:
      'steps that are not attacks: none, one twice, one unknown, one unnamed, one not a mapping',
    spec: `${minimal}poisoning:
  - steps: [{ attack: none }, { attack: badnets }, { attack: badnets, rate: 0.2 }]
  - steps: [{ attack: badnet }, { rate: 0.1 }, label-flip]
  - steps: { attack: badnets }
  - steps: []
`,
    shows: `error[unknown-value]: "none" poisons nothing: it is not a step
 --> DIR/spec.yaml:5:23
  |
5 |   - steps: [{ attack: none }, { attack: badnets }, { attack: badnets, rate: 0.2 }]
  |                       ^^^^
  = leave it out; the clean baseline is a variant of its own: { attack: none }

error[duplicate-value]: "poisoning.steps" has the attack "badnets" twice
 --> DIR/spec.yaml:5:62
  |
5 |   - steps: [{ attack: none }, { attack: badnets }, { attack: badnets, rate: 0.2 }]
  |                                                              ^^^^^^^
  = a step is named by its attack: give one of them the whole dose

error[unknown-plugin]: there is no attack "badnet"
 --> DIR/spec.yaml:6:23
  |
6 |   - steps: [{ attack: badnet }, { rate: 0.1 }, label-flip]
  |                       ^^^^^^
  = did you mean "badnets"?

error[missing-key]: "poisoning.steps.attack" is missing
 --> DIR/spec.yaml:6:33
  |
6 |   - steps: [{ attack: badnet }, { rate: 0.1 }, label-flip]
  |                                 ^^^^^^^^^^^^^
  = The attack plugin

error[wrong-type]: "poisoning.steps" must be a mapping, not "label-flip"
 --> DIR/spec.yaml:6:48
  |
6 |   - steps: [{ attack: badnet }, { rate: 0.1 }, label-flip]
  |                                                ^^^^^^^^^^
  = write { attack: label-flip }

error[wrong-type]: "poisoning.steps" must be a list, not a mapping
 --> DIR/spec.yaml:7:12
  |
7 |   - steps: { attack: badnets }
  |            ^^^^^^^^^^^^^^^^^^^

error[empty-value]: "poisoning.steps" must not be empty
 --> DIR/spec.yaml:8:12
  |
8 |   - steps: []
  |            ^^`,
  },
  {
    fault: "a slip in a step's parameters, and a value out of its range",
    spec: `${minimal}poisoning: { steps: [{ attack: label-flip, rat: 0.1 }, { attack: badnets, rate: [0.1, 2] }] }
`,
    shows: `error[unknown-key]: attack "label-flip" takes no "rat"
 --> DIR/spec.yaml:4:44
  |
4 | poisoning: { steps: [{ attack: label-flip, rat: 0.1 }, { attack: badnets, rate: [0.1, 2] }] }
  |                                            ^^^
  = did you mean "rate"?

error[out-of-range]: "poisoning.steps.rate" must be a number from 0 to 1, not 2
 --> DIR/spec.yaml:4:87
  |
4 | poisoning: { steps: [{ attack: label-flip, rat: 0.1 }, { attack: badnets, rate: [0.1, 2] }] }
  |                                                                                       ^`,
  },
  {
    fault: 'fields of the variant in a step',
    spec: `${minimal}poisoning: { steps: [{ attack: label-flip, when: { seed: 1 } }, { attack: badnets, steps: [{ attack: label-flip }] }] }
`,
    shows: `error[unknown-key]: a step takes no "when"
 --> DIR/spec.yaml:4:44
  |
4 | poisoning: { steps: [{ attack: label-flip, when: { seed: 1 } }, { attack: badnets, steps: [{ attack: label-flip }] }] }
  |                                            ^^^^
  = it belongs to the variant, beside "steps"

error[unknown-key]: a step has no steps of its own
 --> DIR/spec.yaml:4:84
  |
4 | poisoning: { steps: [{ attack: label-flip, when: { seed: 1 } }, { attack: badnets, steps: [{ attack: label-flip }] }] }
  |                                                                                    ^^^^^
  = write them in one list`,
  },
  {
    fault: 'a faulty axis in a step',
    spec: `${minimal}poisoning: { steps: [{ attack: label-flip, rate: { linspace: [0, 1] } }, { attack: badnets }] }
`,
    shows: `error[bad-axis]: "poisoning.steps.rate": linspace takes three numbers, [from, to, n]
 --> DIR/spec.yaml:4:62
  |
4 | poisoning: { steps: [{ attack: label-flip, rate: { linspace: [0, 1] } }, { attack: badnets }] }
  |                                                              ^^^^^^`,
  },
  {
    fault: 'a pattern and a --set that name unknown steps',
    spec: `${minimal}poisoning: { steps: [{ attack: label-flip }, { attack: badnets }] }
exclude: [{ poisoning.steps.bandets.rate: 0.1 }]
`,
    options: { sets: ['poisoning.steps.addsent.rate=0.2'] },
    shows: `error[bad-set]: "poisoning.steps" is a list: --set needs one of its entries (0 … 1, label-flip, badnets) before "addsent"
 --> --set:1:1
  |
1 | poisoning.steps.addsent.rate=0.2
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = or set the whole list: --set poisoning.steps=[…]

error[unknown-key]: there is no field "poisoning.steps.bandets.rate" to match
 --> DIR/spec.yaml:5:13
  |
5 | exclude: [{ poisoning.steps.bandets.rate: 0.1 }]
  |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = did you mean "poisoning.steps.badnets.rate"?`,
  },
  {
    fault: 'references to a field of a step without a value and to a default that differs',
    spec: `${minimal}poisoning:
  - { steps: [{ attack: label-flip }, { attack: badnets, rate: "\${poisoning.steps.label-flip.count}" }] }
  - { attack: [label-flip, badnets], count: "\${poisoning.rate}" }
`,
    shows: `error[bad-reference]: "\${poisoning.steps.label-flip.count}" has no value: it is not set, and has no default
 --> DIR/spec.yaml:5:64
  |
5 |   - { steps: [{ attack: label-flip }, { attack: badnets, rate: "\${poisoning.steps.label-flip.count}" }] }
  |                                                                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

error[unknown-key]: attack "badnets" takes no "count"
 --> DIR/spec.yaml:6:38
  |
6 |   - { attack: [label-flip, badnets], count: "\${poisoning.rate}" }
  |                                      ^^^^^
  = "count" belongs to "label-flip"

error[bad-reference]: "\${poisoning.rate}" has no value of its own: its default differs between the attacks of this variant
 --> DIR/spec.yaml:6:45
  |
6 |   - { attack: [label-flip, badnets], count: "\${poisoning.rate}" }
  |                                             ^^^^^^^^^^^^^^^^^^^
  = write it in the variant`,
  },
]).run();
