/** Where the value of a secret may go: to a program, and nowhere else. */
import type { Report } from './faults.ts';
import { secretsOf } from './interpolate.ts';
import type { MapNode, Node } from './node.ts';
import { child } from './node.ts';

/** Reports each secret outside `commands.NAME.env`, and each that `env` gives a value. @param root after interpolation */
export function checkSecrets(root: MapNode, report: Report): void {
  const walk = (node: Node, path: readonly string[]): void => {
    switch (node.kind) {
      case 'scalar': {
        const isAllowed = path.length === 4 && path[0] === 'commands' && path[2] === 'env';
        if (node.secret !== undefined && !isAllowed)
          report(
            'misplaced-secret',
            node.span,
            `the secret ${node.secret} stands where records would hold it`,
            'a secret may be handed to a program, under commands.NAME.env; sources read their credentials (HF_TOKEN) from the environment by themselves',
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
        `the secret ${name} has a default, which would stand in the spec`,
        `write null, or leave it out of env`,
      );
  }
}

/** Variables of a command's environment that are secrets: each with the name that the secret has outside. */
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
