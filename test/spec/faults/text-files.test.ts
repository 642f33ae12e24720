/** Faults in `target: { file: … }`. */
import { minimal } from '../rig.ts';
import { testFaults } from './check.ts';

const spec = (target: string): string =>
  `${minimal}poisoning: { attack: badnets, target: ${target} }\n`;

testFaults('faults: text files', [
  {
    fault: 'a file that is not there',
    spec: spec('{ file: answer.txt }'),
    files: { 'answers.txt': 'x' },
    shows: `error[missing-file]: there is no file DIR/answer.txt
 --> DIR/spec.yaml:4:47
  |
4 | poisoning: { attack: badnets, target: { file: answer.txt } }
  |                                               ^^^^^^^^^^
  = did you mean "answers.txt"?`,
  },
  {
    fault: 'an empty file',
    spec: spec('{ file: a.txt }'),
    files: { 'a.txt': ' \n' },
    shows: `error[bad-text-file]: DIR/a.txt is empty
 --> DIR/spec.yaml:4:47
  |
4 | poisoning: { attack: badnets, target: { file: a.txt } }
  |                                               ^^^^^
  = write the text into it`,
  },
  {
    fault: 'a folder',
    spec: spec('{ file: a }'),
    files: { 'a/b.txt': 'x' },
    shows: `error[bad-text-file]: DIR/a is not a file
 --> DIR/spec.yaml:4:47
  |
4 | poisoning: { attack: badnets, target: { file: a } }
  |                                               ^
  = name a text file`,
  },
  {
    fault: 'a mapping of another form',
    spec: spec('{ files: a.txt }'),
    shows: `error[bad-axis]: "poisoning.target" has no axis form "files"
 --> DIR/spec.yaml:4:41
  |
4 | poisoning: { attack: badnets, target: { files: a.txt } }
  |                                         ^^^^^
  = an axis is a list, or one of {linspace: [from, to, n]}, {logspace: [from, to, n]}, {range: [from, to, step]}`,
  },
]).run();
