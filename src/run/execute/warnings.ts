/**
 * Reads and writes the warnings of stages, from preflights and runs. They are stored with a stage's
 * output, so that later readers of its numbers are told.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { UserFault, type Warning } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import { withoutNumbers } from '../../base/fault.ts';
import { WARNINGS } from '../../plan/keys.ts';
import { locateIn } from '../../plan/label.ts';
import type { Plan, StageId } from '../../plan/types.ts';
import type { Diagnostic } from '../../spec/types.ts';
import { errorCode } from '../../store/faults.ts';
import { isUnreadable, readRegular, readRegularOr } from '../../store/regular.ts';
import { terminalSafe } from './failure.ts';
import type { MetricsStatus } from './metrics.ts';
import type { Planned } from './preflight.ts';

/**
 * Writes the warnings, each once; no file if there are none. Throws UserFault if the stage has
 * written a file of that name.
 */
export function writeWarnings(outDir: string, stage: string, warnings: readonly Warning[]): void {
  if (readRegularOr(path.join(outDir, WARNINGS)) !== null)
    throw new UserFault(
      `the stage "${stage}" wrote a file ${WARNINGS}, which is the engine's own`,
      'warn with `context.warn`, or give the file another name',
    );
  // A running stage may warn of what its preflight has found already.
  const distinct = [...new Map(warnings.map((one) => [JSON.stringify(one), one])).values()];
  if (distinct.length > 0)
    writeFileSync(path.join(outDir, WARNINGS), `${JSON.stringify(distinct, null, 2)}\n`);
}

/**
 * Returns an entry's stored warnings, made safe for a terminal because the entry may come from a
 * remote; [] if it has none. A file that can't be read is itself a warning. The warning names the
 * file by its path in the store and not on this machine, since it is shown wherever the numbers
 * are.
 * @param dir the entry's folder, which the store has two levels deep
 */
export function readWarnings(dir: string): readonly Warning[] {
  const file = [path.basename(path.dirname(dir)), path.basename(dir), WARNINGS].join('/');
  const unreadableWarning = (fault: string): readonly Warning[] => [
    { path: [], message: `${file} of the store ${fault} (dosimeter verify)` },
  ];
  try {
    const found: unknown = JSON.parse(readRegular(path.join(dir, WARNINGS)).toString('utf8'));
    if (Array.isArray(found) && found.every(isWarning)) return found.map(withSafeText);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    if (isUnreadable(error)) return unreadableWarning("can't be read");
    if (!(error instanceof SyntaxError)) throw error;
  }
  return unreadableWarning('is not what was stored');
}

const withSafeText = <T extends Pick<Warning, 'message' | 'hint'>>(warning: T): T => ({
  ...warning,
  message: terminalSafe(warning.message),
  ...defined({ hint: warning.hint && terminalSafe(warning.hint) }),
});

function isWarning(value: unknown): value is Warning {
  const { path: place, message, hint } = (value ?? {}) as { readonly [field: string]: unknown };
  return (
    typeof message === 'string' &&
    (hint === undefined || typeof hint === 'string') &&
    Array.isArray(place) &&
    place.every((part) => typeof part === 'string' || typeof part === 'number')
  );
}

/** Returns the warnings that are stored with stages' entries, with their places in the spec. */
export function storedWarnings(plan: Plan, statuses: readonly MetricsStatus[]): Diagnostic[] {
  return statuses.flatMap(({ stage, entry }) => {
    const cell = plan.experiment.cells[stage.cells[0] ?? 0];
    if (!cell || !entry?.manifest.files.some(({ path: name }) => name === WARNINGS)) return [];
    return readWarnings(entry.dir).map(({ path: field, ...rest }): Diagnostic => ({
      ...rest,
      code: 'preflight',
      range: field.length === 0 ? null : locateIn(cell, stage.section, field),
      warning: true,
    }));
  });
}

/** Returns a warning for each stage whose cells repeat others in another spelling. */
export async function repeatsIn(planned: Planned): Promise<ReadonlyMap<StageId, Diagnostic>> {
  if (planned.plan.stages.every(({ descriptor }) => descriptor.resolved === undefined))
    return new Map();
  return (await import('./preflight.ts')).repeatedConditions(planned);
}

/**
 * Returns each message at each place once. Warnings that differ only in numbers, such as those of
 * several seeds, become the first of them, with the number of the others.
 */
export function distinctDiagnostics(found: readonly Diagnostic[]): readonly Diagnostic[] {
  const groups = new Map<string, { readonly first: Diagnostic; readonly texts: Set<string> }>();
  for (const one of found) {
    const { range, message, warning } = one;
    const place = range && [range.file, range.line, range.column];
    const key = JSON.stringify([warning ? withoutNumbers(message) : message, place]);
    const group = groups.get(key) ?? { first: one, texts: new Set() };
    groups.set(key, { ...group, texts: group.texts.add(message) });
  }
  return [...groups.values()].map(({ first, texts }) =>
    texts.size === 1
      ? first
      : { ...first, message: `${first.message} (and ${texts.size - 1} more with other numbers)` },
  );
}

/**
 * Returns a warning as people read it: `FILE:LINE:COLUMN: MESSAGE`, and the hint on a line below.
 */
export function warningText(warning: Omit<Diagnostic, 'code'>): string {
  const { message, hint, range } = withSafeText(warning);
  const place = range === null ? '' : `${range.file}:${range.line}:${range.column}: `;
  return `${place}${message}${hint === undefined ? '' : `\n  ${hint}`}`;
}
