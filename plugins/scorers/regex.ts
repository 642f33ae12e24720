import { defineScorer } from '../../src/api.ts';
import { withinSeconds } from '../../src/base/untrusted/limits.ts';
import { nonEmptyText, parametersRequiring } from '../../src/poisoning/parameters.ts';
import { compilePattern, patternFaults } from './shared/text.ts';

interface Params {
  readonly pattern: string;
  readonly ignore_case: boolean;
}

/** How many seconds the regular expression may take on one output. */
const SECONDS = 2;

const flagsOf = ({ ignore_case: ignoreCase }: Params): string => (ignoreCase ? 'ui' : 'u');

export default defineScorer<Params>({
  name: 'regex',
  summary:
    'The output matches a regular expression of JavaScript (flag u) anywhere; ^ and $ are the ' +
    'start and the end of the whole output, which is left as it is.',
  citation: '',
  params: parametersRequiring(['pattern'], {
    pattern: nonEmptyText({ description: 'The regular expression.' }),
    ignore_case: {
      type: 'boolean',
      default: false,
      description: 'Whether upper and lower case are the same.',
    },
  }),
  check: ({ params }) => patternFaults('pattern', params.pattern, flagsOf(params)),
  pure: true,
  score(outputs, params) {
    const pattern = compilePattern('pattern', params.pattern, flagsOf(params));
    return outputs.map(({ output }) =>
      withinSeconds(
        SECONDS,
        () =>
          `the regular expression ${params.pattern} took more than ${SECONDS} s on an output of ` +
          `${output.length} characters`,
        () => pattern.test(output),
      ),
    );
  },
});
