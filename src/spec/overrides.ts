/** Applies `--set path=value`: one more layer over the spec, written on the command line. */
import { resolve } from 'node:path';
import type { Report } from './faults.ts';
import { merge } from './merge.ts';
import type { MapNode, Node, Span } from './node.ts';
import { child, createSource, withEntries } from './node.ts';
import { parseYaml } from './parse.ts';
import { attackOf, stepAt } from './steps.ts';

const example = 'for example --set train.learning_rate=1.0e-4, or --set adapter.rank=[4, 8]';

/**
 * Returns the spec with each `--set path=value` merged over it. An empty or null value removes the
 * field. A relative path in a value starts from the working directory.
 */
export function applyOverrides(root: MapNode, sets: readonly string[], report: Report): MapNode {
  for (const argument of sets) {
    const source = createSource('--set', resolve('.'), argument);
    const cut = argument.indexOf('=');
    const whole: Span = { source, start: 0, end: argument.length };
    const steps = stepsOf(argument.slice(0, Math.max(cut, 0)));
    if (cut < 0 || steps.includes('')) {
      report('bad-set', whole, '--set takes path=value', example);
      continue;
    }
    let faults = 0;
    const value = parseYaml(
      source,
      (...fault) => {
        faults++;
        report(...fault);
      },
      argument.slice(cut + 1),
      cut + 1,
    ) ?? { kind: 'scalar', value: null, quoted: false, span: whole };
    if (faults > 0) continue;
    const changed = put(root, steps, value, { source, start: 0, end: cut }, [], report);
    if (changed.kind === 'map') root = changed;
  }
  return root;
}

/** Splits a path into steps. `adapter[1].rank` means `adapter.1.rank`. */
const stepsOf = (path: string): string[] =>
  path
    .trim()
    .replace(/\[(\d+)\]/g, '.$1')
    .split('.');

/** Returns the node with the value put at a path below it. */
function put(
  node: Node | undefined,
  [step, ...rest]: readonly string[],
  value: Node,
  at: Span,
  path: readonly string[],
  report: Report,
): Node {
  if (step === undefined) return value;
  const field = path.at(-1) ?? '';
  if (node?.kind === 'list') {
    const index = /^\d+$/.test(step) ? Number(step) : field === 'steps' ? stepAt(node, step) : -1;
    if (node.items[index] === undefined) {
      const positions = node.items.length === 1 ? '0' : `0 … ${node.items.length - 1}`,
        name = path.join('.');
      const attacks =
        field === 'steps' ? node.items.flatMap((item) => attackOf(item)?.value ?? []) : [];
      const known = [positions, ...attacks].join(', ');
      report(
        'bad-set',
        at,
        `"${name}" is a list: --set needs one of its entries (${known}) before "${step}"`,
        `or set the whole list: --set ${name}=[…]`,
      );
      return node;
    }
    return {
      ...node,
      items: node.items.map((item, i) =>
        i === index ? put(item, rest, value, at, [...path, step], report) : item,
      ),
    };
  }
  const map: MapNode = node?.kind === 'map' ? node : { kind: 'map', entries: new Map(), span: at };
  if (rest.length === 0)
    return merge(
      map,
      { kind: 'map', entries: new Map([[step, { key: at, value }]]), span: map.span },
      field,
    );
  return withEntries(map, [
    [
      step,
      {
        key: map.entries.get(step)?.key ?? at,
        value: put(child(map, step), rest, value, at, [...path, step], report),
      },
    ],
  ]);
}
