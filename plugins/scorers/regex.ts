import { defineScorer, problemOf, UserFault } from '../../src/api.ts';
import { withinSeconds } from '../../src/base/untrusted/limits.ts';
import { nonEmptyText, parameters } from '../../src/poisoning/parameters.ts';

interface Params {
  readonly pattern: string;
  readonly ignore_case: boolean;
}

/** How many seconds the expression may take on one output. */
const SECONDS = 2;

function compilePattern({ pattern, ignore_case: ignoreCase }: Params): RegExp {
  try {
    return new RegExp(pattern, ignoreCase ? 'ui' : 'u');
  } catch (error) {
    throw new UserFault(
      `\`pattern\` is not a regular expression: ${(error as Error).message}`,
      'It is one of JavaScript, with the flag u.',
    );
  }
}

export default defineScorer<Params>({
  name: 'regex',
  summary:
    'The output matches a regular expression of JavaScript (flag u) anywhere; ^ and $ are the ' +
    'start and the end of the whole output, which is left as it is.',
  citation: '',
  params: {
    ...parameters({
      pattern: nonEmptyText({ description: 'The regular expression.' }),
      ignore_case: {
        type: 'boolean',
        default: false,
        description: 'Whether upper and lower case are the same.',
      },
    }),
    required: ['pattern'],
  },
  check({ params }) {
    try {
      compilePattern(params);
      return [];
    } catch (error) {
      return [problemOf(error, ['pattern'])];
    }
  },
  pure: true,
  score(outputs, params) {
    const pattern = compilePattern(params);
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
