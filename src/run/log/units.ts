/** Units of progress, as people count them: a stage that runs alone, or a pack of stages. */
import type { PlannedStage, StageId } from '../../plan/types.ts';
import type { Outcome } from './events.ts';

export interface Unit {
  readonly members: readonly PlannedStage[];
  /** The time at which the unit started, by the clock that `createUnits` was given. */
  readonly since: number;
  /** The members that have ended. */
  readonly ended: ReadonlySet<StageId>;
  /** The number of ended members that succeeded. */
  readonly ran: number;
  /** The seconds from the unit's start to its end. */
  readonly seconds: number;
  /** The latest progress of any member, such as `5/20 steps`; empty before there is any. */
  readonly at: string;
  /** The same as a share of the member's work; 0 before there is any. */
  readonly share: number;
}

interface Open extends Unit {
  readonly members: PlannedStage[];
  readonly ended: Set<StageId>;
  ran: number;
  seconds: number;
  at: string;
  share: number;
}

export interface Units {
  /** @param pack the ids of all stages that share the stage's job; undefined if it runs alone */
  start(stage: PlannedStage, pack: readonly StageId[] | undefined): void;
  progress(stage: PlannedStage, at: string, share: number): void;
  /**
   * Returns the unit that has ended with this stage. Returns null while other members go on, or if
   * the stage never started.
   */
  end(stage: PlannedStage, outcome: Outcome): Unit | null;
  readonly running: Iterable<Unit>;
}

export function createUnits(now: () => number): Units {
  const open = new Set<Open>(),
    byStage = new Map<StageId, Open>();
  const packs = new Map<string, Open>();
  return {
    start(stage, pack) {
      const name = pack?.join(' ');
      let unit = name === undefined ? undefined : packs.get(name);
      if (unit === undefined) {
        unit = {
          members: [],
          since: now(),
          ended: new Set(),
          ran: 0,
          seconds: 0,
          at: '',
          share: 0,
        };
        open.add(unit);
        if (name !== undefined) packs.set(name, unit);
      }
      unit.members.push(stage);
      byStage.set(stage.id, unit);
    },
    progress(stage, at, share) {
      const unit = byStage.get(stage.id);
      if (unit) Object.assign(unit, { at, share });
    },
    end(stage, outcome) {
      const unit = byStage.get(stage.id);
      if (unit === undefined) return null;
      byStage.delete(stage.id);
      unit.ended.add(stage.id);
      if (outcome.state === 'ran') unit.ran++;
      if (unit.members.some(({ id }) => byStage.get(id) === unit)) return null;
      open.delete(unit);
      unit.seconds =
        unit.members.length === 1 && outcome.state === 'ran'
          ? outcome.seconds
          : (now() - unit.since) / 1000;
      return unit;
    },
    running: open,
  };
}

/**
 * Returns what the labels of the members have in common, such as `train ×8 attack=badnets
 * type=lora`.
 */
export function unitLabel(
  { members }: Pick<Unit, 'members'>,
  label: (stage: PlannedStage) => string,
): string {
  const [first = [], ...others] = members.map((stage) => label(stage).split(' '));
  if (others.length === 0) return first.join(' ');
  const [kind = '', ...rest] = first;
  return [
    kind,
    `×${members.length}`,
    ...rest.filter((word) => others.every((words) => words.includes(word))),
  ].join(' ');
}

/** Returns counts in words: `10 poison, 12 train`. */
export function tally(kinds: ReadonlyMap<string, number>): string {
  return [...kinds].map(([kind, n]) => `${n} ${kind}`).join(', ');
}
