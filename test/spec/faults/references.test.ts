/** References to fields and to the environment. */
import { minimal } from '../rig.ts';
import { testFaults } from './check.ts';

testFaults('faults: references', [
  {
    fault: 'a reference to nothing',
    spec: `${minimal}ntk: { rows: "\${train.bach_size}" }
`,
    shows: `error[bad-reference]: there is no field "train.bach_size" to refer to
 --> DIR/spec.yaml:4:14
  |
4 | ntk: { rows: "\${train.bach_size}" }
  |              ^^^^^^^^^^^^^^^^^^^^
  = did you mean "\${train.batch_size}"?`,
  },
  {
    fault: 'a reference to itself',
    spec: `${minimal}train: { batch_size: "\${train.max_length}", max_length: "\${train.batch_size}" }
`,
    shows: `error[cycle]: "\${train.max_length}" refers to itself
 --> DIR/spec.yaml:4:22
  |
4 | train: { batch_size: "\${train.max_length}", max_length: "\${train.batch_size}" }
  |                      ^^^^^^^^^^^^^^^^^^^^^

error[cycle]: "\${train.batch_size}" refers to itself
 --> DIR/spec.yaml:4:57
  |
4 | train: { batch_size: "\${train.max_length}", max_length: "\${train.batch_size}" }
  |                                                         ^^^^^^^^^^^^^^^^^^^^^`,
  },
  {
    fault: 'a reference to an axis',
    spec: `${minimal}train: { batch_size: [8, 16] }
evaluate: { batch_size: "\${train.batch_size}" }
`,
    shows: `error[bad-reference]: "\${train.batch_size}" is not a single value but a list
 --> DIR/spec.yaml:5:25
  |
5 | evaluate: { batch_size: "\${train.batch_size}" }
  |                         ^^^^^^^^^^^^^^^^^^^^^
  = refer to a field that has one value; an axis has several`,
  },
  {
    fault: 'a reference to a section',
    spec: `${minimal}ntk: { rows: "\${train}" }
`,
    shows: `error[bad-reference]: "\${train}" is not a single value but a mapping
 --> DIR/spec.yaml:4:14
  |
4 | ntk: { rows: "\${train}" }
  |              ^^^^^^^^^^`,
  },
  {
    fault: 'a reference to a list of variants',
    spec: `${minimal}adapter: [{ type: lora, rank: 4 }]
ntk: { rows: "\${adapter.rank}" }
`,
    shows: `error[bad-reference]: "\${adapter.rank}" has no single value: "adapter" is a list of variants
 --> DIR/spec.yaml:5:14
  |
5 | ntk: { rows: "\${adapter.rank}" }
  |              ^^^^^^^^^^^^^^^^^`,
  },
  {
    fault: 'a reference to a field without a value',
    spec: `${minimal}ntk: { rows: "\${train.steps}" }
`,
    shows: `error[bad-reference]: "\${train.steps}" has no value: it is not set, and has no default
 --> DIR/spec.yaml:4:14
  |
4 | ntk: { rows: "\${train.steps}" }
  |              ^^^^^^^^^^^^^^^^`,
  },
  {
    fault: 'a reference that is not closed',
    spec: `name: small
data: { train: { source: "npm:rows" }, validation: { source: "npm:rows" } }
model: { source: "pypi:\${name" }
`,
    shows: `error[bad-reference]: "\${" has no "}" in "pypi:\${name"
 --> DIR/spec.yaml:3:18
  |
3 | model: { source: "pypi:\${name" }
  |                  ^^^^^^^^^^^^^
  = a plain "\${" is written "$\${"`,
  },
  {
    fault: 'an undeclared variable',
    spec: `${minimal}train: { steps: "\${env.STEPS}" }
`,
    options: { env: { STEPS: '5' } },
    shows: `error[undeclared-variable]: the spec does not declare the environment variable STEPS
 --> DIR/spec.yaml:4:17
  |
4 | train: { steps: "\${env.STEPS}" }
  |                 ^^^^^^^^^^^^^^
  = declare it: env: { STEPS: null }`,
  },
  {
    fault: 'a misspelt variable',
    spec: `${minimal}env: { STEPS: 3 }
train: { steps: "\${env.STEP}" }
`,
    shows: `error[undeclared-variable]: the spec does not declare the environment variable STEP
 --> DIR/spec.yaml:5:17
  |
5 | train: { steps: "\${env.STEP}" }
  |                 ^^^^^^^^^^^^^
  = did you mean "\${env.STEPS}"?`,
  },
  {
    fault: 'a variable that is not set',
    spec: `${minimal}env: { STEPS: null }
train: { steps: "\${env.STEPS}" }
`,
    shows: `error[unset-variable]: the environment variable STEPS is not set, and the spec gives it no default
 --> DIR/spec.yaml:5:17
  |
5 | train: { steps: "\${env.STEPS}" }
  |                 ^^^^^^^^^^^^^^`,
  },
  {
    fault: 'a variable whose name is a property of every object',
    spec: `${minimal}env: { constructor: null }
train: { steps: "\${env.constructor}" }
`,
    shows: `error[unset-variable]: the environment variable constructor is not set, and the spec gives it no default
 --> DIR/spec.yaml:5:17
  |
5 | train: { steps: "\${env.constructor}" }
  |                 ^^^^^^^^^^^^^^^^^^^^`,
  },
  {
    fault: 'a variable of the wrong type',
    spec: `${minimal}env: { STEPS: null }
train: { steps: "\${env.STEPS}" }
`,
    options: { env: { STEPS: 'many' } },
    shows: `error[wrong-type]: "train.steps" must be a whole number of at least 0, not "many"
 --> DIR/spec.yaml:5:17
  |
5 | train: { steps: "\${env.STEPS}" }
  |                 ^^^^^^^^^^^^^^`,
  },
]).run();
