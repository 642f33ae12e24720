/** Text that is not YAML, or not a spec. */
import { minimal } from '../rig.ts';
import { testFaults } from './check.ts';

testFaults('faults: yaml', [
  {
    fault: 'an empty file',
    spec: ``,
    shows: `error[empty-spec]: DIR/spec.yaml is empty
  = a spec needs at least "name", "model" and "data"`,
  },
  {
    fault: 'a file of comments only',
    spec: `# nothing yet
`,
    shows: `error[empty-spec]: DIR/spec.yaml is empty
  = a spec needs at least "name", "model" and "data"`,
  },
  {
    fault: 'a list instead of a mapping',
    spec: `- name: x
`,
    shows: `error[wrong-type]: a spec is a mapping of fields, not a list
 --> DIR/spec.yaml:1:1
  |
1 | - name: x
  | ^^^^^^^^^
  = begin with "name: …"`,
  },
  {
    fault: 'a single word',
    spec: `name
`,
    shows: `error[wrong-type]: a spec is a mapping of fields, not a single value
 --> DIR/spec.yaml:1:1
  |
1 | name
  | ^^^^
  = begin with "name: …"`,
  },
  {
    fault: 'a bracket that is not closed',
    spec: `${minimal}train: { steps: 5
seeds: [1]
`,
    shows: `error[yaml-syntax]: not YAML: a closing } is missing
 --> DIR/spec.yaml:5:1
  |
5 | seeds: [1]
  | ^`,
  },
  {
    fault: 'a quote that is not closed',
    spec: `${minimal}train: { optimizer: "adamw }
`,
    shows: `error[yaml-syntax]: not YAML: a closing " is missing
 --> DIR/spec.yaml:4:28
  |
4 | train: { optimizer: "adamw }
  |                            ^`,
  },
  {
    fault: 'a tab as indentation',
    spec: `${minimal}train:
	steps: 5
`,
    shows: `error[yaml-syntax]: a tab can't indent YAML
 --> DIR/spec.yaml:5:1
  |
5 |  steps: 5
  | ^
  = indent with spaces`,
  },
  {
    fault: 'two documents',
    spec: `${minimal}---
name: second
`,
    shows: `error[yaml-syntax]: a spec is one YAML document, but this begins a second one
 --> DIR/spec.yaml:4:1
  |
4 | ---
  | ^^^
  = take out the line "---"`,
  },
  {
    fault: 'a tag',
    spec: `${minimal}seeds: !range [1, 5]
`,
    shows: `error[yaml-syntax]: unresolved tag: !range
 --> DIR/spec.yaml:4:8
  |
4 | seeds: !range [1, 5]
  |        ^^^^^^
  = a value that begins with "!" needs quotes`,
  },
  {
    fault: 'a colon within a plain value',
    spec: `${minimal}train: steps: 5
`,
    shows: `error[yaml-syntax]: not YAML: nested mappings are not allowed in compact mappings
 --> DIR/spec.yaml:4:8
  |
4 | train: steps: 5
  |        ^
  = a value with ": " in it needs quotes; a nested field goes on a line of its own, indented`,
  },
  {
    fault: 'a key given twice',
    spec: `${minimal}train: { steps: 5, steps: 6 }
`,
    shows: `error[duplicate-key]: the key "steps" is given twice
 --> DIR/spec.yaml:4:20
  |
4 | train: { steps: 5, steps: 6 }
  |                    ^^^^^
  = keep one of the two`,
  },
  {
    fault: 'a key that is a list',
    spec: `${minimal}? [a]
: 1
`,
    shows: `error[bad-key]: a key must be a single word or text
 --> DIR/spec.yaml:4:3
  |
4 | ? [a]
  |   ^^^`,
  },
  {
    fault: 'an alias without its anchor',
    spec: `${minimal}train: *fast
`,
    shows: `error[unknown-alias]: there is no anchor "&fast" before this
 --> DIR/spec.yaml:4:8
  |
4 | train: *fast
  |        ^^^^^
  = set it first: &fast`,
  },
  {
    fault: 'an alias within itself',
    spec: `${minimal}seeds: &seeds [1, *seeds]
`,
    shows: `error[cycle]: "*seeds" contains itself
 --> DIR/spec.yaml:4:19
  |
4 | seeds: &seeds [1, *seeds]
  |                   ^^^^^^`,
  },
  {
    fault: 'a seed beyond exact numbers',
    spec: `${minimal}seeds: [12345678901234567890]
`,
    shows: `error[number-too-large]: 12345678901234567890 is too large to be kept exactly
 --> DIR/spec.yaml:4:9
  |
4 | seeds: [12345678901234567890]
  |         ^^^^^^^^^^^^^^^^^^^^
  = whole numbers go up to 9007199254740991`,
  },
]).run();
