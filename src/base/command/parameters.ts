/** The parameters that plugins share which run a program of the user. */
import type { JsonSchema } from '../json.ts';

export interface ProgramParams {
  readonly env: { readonly [name: string]: string };
  readonly pass_env: readonly string[];
  readonly timeout_seconds: number;
  readonly output_mb: number;
}

/**
 * Returns the schemas of `command` and `files`.
 * @param folder describes the program's folder, in sentences that follow "no shell reads them."
 * @param example a file that the program may need, such as `attack.py`
 */
export const programProperties = (folder: string, example: string): JsonSchema => ({
  command: {
    type: 'array',
    items: { type: 'string' },
    minItems: 1,
    description: `The program and its arguments; no shell reads them. ${folder}`,
  },
  files: {
    type: 'array',
    items: { type: 'string' },
    format: 'source',
    default: [],
    description:
      `What the program is made of and reads, such as file:${example}. Each file lies in its ` +
      'folder under its own name. Their content is part of the key.',
  },
});

/** The schemas of `options` and of the fields of `ProgramParams`. */
export const limitProperties: JsonSchema = {
  options: { type: 'object', default: {}, description: 'Passed on in task.json unchanged.' },
  env: {
    type: 'object',
    additionalProperties: { type: 'string' },
    default: {},
    description: 'Environment variables with their values.',
  },
  pass_env: {
    type: 'array',
    items: { type: 'string' },
    default: [],
    description:
      'Names of further environment variables that it may see, beside PATH, HOME, LANG, LC_ALL ' +
      'and TMPDIR. Their values are not part of the key: they must not change the result.',
  },
  timeout_seconds: {
    type: 'number',
    exclusiveMinimum: 0,
    default: 600,
    description: 'It is ended after this time.',
  },
  output_mb: {
    type: 'number',
    exclusiveMinimum: 0,
    default: 64,
    description: 'Limit on what it prints, and on the size of what it writes.',
  },
};
