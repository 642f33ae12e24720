/** A run as this page knows it: the server's snapshot, and the changes after it. */
import type { Changes, Group, Snapshot, Stage } from '../wire.ts';
import type { LinkState } from './connection.ts';
import { askJson, followStream, Refused } from './connection.ts';

export interface RunView extends Omit<Snapshot, 'at' | 'stages'> {
  /** A stage that has changed is another object. */
  readonly stages: readonly Stage[];
  /** How far this browser's clock is ahead of the server's, in milliseconds. */
  readonly skew: number;
  /** A number that grows whenever something of the run changes. */
  readonly version: number;
}

/** Shows a run and follows its changes. @returns a function that stops this */
export function openRun(
  id: string,
  onView: (view: RunView) => void,
  onState: (state: LinkState) => void,
): () => void {
  const end = new AbortController();
  const path = `/api/runs/${encodeURIComponent(id)}`;
  let version = 0,
    stop = (): void => undefined;
  const begin = async (): Promise<void> => {
    const snapshot = await askJson<Snapshot>(path, end.signal);
    const stages = [...snapshot.stages];
    let view: RunView = {
      ...snapshot,
      stages,
      skew: Date.now() - snapshot.facts.now,
      version: ++version,
    };
    onView(view);
    stop();
    stop = followStream(`${path}/stream`, snapshot.at, {
      onState,
      onEvent(name, data) {
        if (name === 'reset') {
          start();
          return;
        }
        view = changed(view, stages, data as Changes, ++version);
        onView(view);
      },
    });
  };
  const start = (): void => {
    stop();
    begin().catch((error: unknown) => {
      if (end.signal.aborted) return;
      if (error instanceof Refused && error.status < 500) {
        onState('refused');
        return;
      }
      onState('lost');
      setTimeout(() => {
        if (!end.signal.aborted) start();
      }, 2000);
    });
  };
  start();
  return () => {
    end.abort();
    stop();
  };
}

/** Returns the view after the changes. Updates `stages`, the array in the view, in place. */
function changed(view: RunView, stages: Stage[], changes: Changes, version: number): RunView {
  const { stages: statuses = [], added = [], ...rest } = changes;
  for (const [index, status] of statuses) {
    const stage = stages[index];
    if (stage !== undefined)
      stages[index] = { id: stage.id, label: stage.label, group: stage.group, ...status };
  }
  stages.push(...added);
  const skew = changes.facts === undefined ? view.skew : Date.now() - changes.facts.now;
  return { ...view, ...rest, skew, version };
}

/** A kind of stage with the number of its stages in each state. */
export interface GroupCounts extends Group {
  readonly index: number;
  readonly counts: { readonly [state: string]: number };
  readonly all: number;
}

export function countGroups({ graph, stages }: RunView): readonly GroupCounts[] {
  const counts = graph.groups.map((): { [state: string]: number } => ({}));
  for (const { group, state } of stages) {
    const of = counts[group];
    if (of !== undefined) of[state] = (of[state] ?? 0) + 1;
  }
  return graph.groups.map((group, index) => {
    const of = counts[index] ?? {};
    return { ...group, index, counts: of, all: Object.values(of).reduce((a, b) => a + b, 0) };
  });
}
