/** Keeps the values of secrets out of records. A secret may be given only to a program. */
import type { Report } from './faults.ts';
import type { MapNode, Node } from './node.ts';
import { child, isText } from './node.ts';

/**
 * Reports each secret that is used outside `commands.NAME.env`, and each secret for which `env` has
 * a default.
 * @param root the spec after interpolation
 */
export function checkSecrets(root: MapNode, report: Report): void {
  const walk = (node: Node, path: readonly string[]): void => {
    switch (node.kind) {
      case 'scalar': {
        const isAllowed = path.length === 4 && path[0] === 'commands' && path[2] === 'env';
        if (node.secret !== undefined && !isAllowed)
          report(
            'misplaced-secret',
            node.span,
            `the secret ${node.secret} is used where a run would record its value`,
            'only a program may get a secret, under commands.NAME.env; sources read their ' +
              'credentials (HF_TOKEN) from the environment themselves',
          );
        return;
      }
      case 'list':
        node.items.forEach((item, i) => walk(item, [...path, String(i)]));
        return;
      case 'map':
        for (const [key, { value }] of node.entries) walk(value, [...path, key]);
    }
  };
  walk(root, []);
  const env = child(root, 'env');
  for (const name of secretsOf(root)) {
    const given = child(env, name);
    if (given !== undefined && !(given.kind === 'scalar' && given.value === null))
      report(
        'misplaced-secret',
        given.span,
        `the secret ${name} has a default, which everybody who reads the spec would see`,
        'write null, or leave it out of env',
      );
  }
}

/**
 * Returns the variables under a command's `env` that hold secrets, each with the name of its
 * secret.
 */
export function secretVariables(command: Node): { readonly [variable: string]: string } {
  const env = child(command, 'env');
  return env?.kind !== 'map'
    ? {}
    : Object.fromEntries(
        [...env.entries].flatMap(([variable, { value }]) =>
          value.kind === 'scalar' && value.secret !== undefined ? [[variable, value.secret]] : [],
        ),
      );
}

/** Returns the names under `secrets`. Anything else there is left for validation to report. */
export function secretsOf(root: MapNode): string[] {
  const list = child(root, 'secrets');
  return list?.kind === 'list' ? list.items.filter(isText).map(({ value }) => value) : [];
}

const CREDENTIAL = new RegExp(
  '(?:^|_)(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIALS?|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|' +
    '(?:AUTH|ACCESS|API|BEARER|REFRESH|SESSION|' +
    'HF|HUGGINGFACE|GITHUB|GITLAB|GH|AWS|NPM|WANDB|OPENAI)_?TOKEN)(?:_|$)',
  'i',
);

/**
 * Whether a variable's name is one that customarily holds a credential. TOKEN alone is not one,
 * because it is an ordinary word where language models are concerned.
 */
export const looksSecret = (name: string): boolean => CREDENTIAL.test(name);
