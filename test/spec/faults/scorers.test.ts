/** Faults in `evaluate.scorer`, and in the columns of a completion task. */
import { minimal } from '../rig.ts';
import { testFaults } from './check.ts';

testFaults('faults: scorers', [
  {
    fault: 'an unknown scorer',
    spec: `${minimal}evaluate: { scorer: exakt }
`,
    shows: `error[unknown-value]: "evaluate.scorer" must be "exact" or "command" or a mapping, not "exakt"
 --> DIR/spec.yaml:4:21
  |
4 | evaluate: { scorer: exakt }
  |                     ^^^^^
  = did you mean "exact"?`,
  },
  {
    fault: 'an unknown scorer with parameters',
    spec: `${minimal}evaluate: { scorer: { scorer: exakt, text: a } }
`,
    shows: `error[unknown-plugin]: there is no scorer "exakt"
 --> DIR/spec.yaml:4:31
  |
4 | evaluate: { scorer: { scorer: exakt, text: a } }
  |                               ^^^^^
  = did you mean "exact"?`,
  },
  {
    fault: 'a parameter that the scorer does not have',
    spec: `${minimal}evaluate: { scorer: { scorer: exact, txt: a } }
`,
    shows: `error[unknown-key]: unknown key "txt" in "evaluate.scorer"
 --> DIR/spec.yaml:4:38
  |
4 | evaluate: { scorer: { scorer: exact, txt: a } }
  |                                      ^^^
  = did you mean "text"?`,
  },
  {
    fault: 'a parameter of the wrong type',
    spec: `${minimal}evaluate: { scorer: { scorer: exact, text: 3 } }
`,
    shows: `error[wrong-type]: "evaluate.scorer.text" must be text, not 3
 --> DIR/spec.yaml:4:44
  |
4 | evaluate: { scorer: { scorer: exact, text: 3 } }
  |                                            ^
  = in quotes: "3"`,
  },
  {
    fault: 'parameters without a scorer',
    spec: `${minimal}evaluate: { scorer: { text: a } }
`,
    shows: `error[missing-key]: "evaluate.scorer.scorer" is missing
 --> DIR/spec.yaml:4:13
  |
4 | evaluate: { scorer: { text: a } }
  |             ^^^^^^
  = The scorer plugin`,
  },
  {
    fault: 'a command that is one text',
    spec: `${minimal}evaluate: { scorer: { scorer: command, command: python3 judge.py } }
`,
    shows: `error[wrong-type]: "evaluate.scorer.command" must be a list of texts, not "python3 judge.py"
 --> DIR/spec.yaml:4:49
  |
4 | evaluate: { scorer: { scorer: command, command: python3 judge.py } }
  |                                                 ^^^^^^^^^^^^^^^^
  = as a list of arguments: [python3, judge.py]`,
  },
  {
    fault: "a scorer's file that is not there",
    spec: `${minimal}evaluate: { scorer: { scorer: command, command: [a], files: ["file:judge.py"] } }
`,
    files: { 'judges.py': '' },
    shows: `error[missing-file]: there is no file DIR/judge.py
 --> DIR/spec.yaml:4:62
  |
4 | evaluate: { scorer: { scorer: command, command: [a], files: ["file:judge.py"] } }
  |                                                              ^^^^^^^^^^^^^^^
  = did you mean "file:judges.py"?`,
  },
  {
    fault: 'an unknown further scorer',
    spec: `${minimal}evaluate: { scorers: [command, { scorer: exakt }] }
`,
    shows: `error[unknown-plugin]: there is no scorer "exakt"
 --> DIR/spec.yaml:4:42
  |
4 | evaluate: { scorers: [command, { scorer: exakt }] }
  |                                          ^^^^^
  = did you mean "exact"?`,
  },
  {
    fault: "a further scorer's file that is not there",
    spec: `${minimal}evaluate: { scorers: [{ scorer: command, command: [a], files: ["file:judge.py"] }] }
`,
    files: { 'judges.py': '' },
    shows: `error[missing-file]: there is no file DIR/judge.py
 --> DIR/spec.yaml:4:64
  |
4 | evaluate: { scorers: [{ scorer: command, command: [a], files: ["file:judge.py"] }] }
  |                                                                ^^^^^^^^^^^^^^^
  = did you mean "file:judges.py"?`,
  },
  {
    fault: 'several scorers',
    spec: `${minimal}evaluate: { scorer: [exact, command] }
`,
    shows: `error[wrong-type]: "evaluate.scorer" must be "exact" or "command" or a mapping, not a list
 --> DIR/spec.yaml:4:21
  |
4 | evaluate: { scorer: [exact, command] }
  |                     ^^^^^^^^^^^^^^^^`,
  },
]).run();
