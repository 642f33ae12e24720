/**
 * What happens over the steps of a training: the loss, which shows whether an adapter that resisted
 * an attack was merely under-trained, and clean accuracy, attack success and accuracy on the
 * poisoned rows.
 */
import type { TopLevelSpec } from 'vega-lite';
import type { Condition } from '../conditions.ts';
import { csvOf } from '../csv.ts';
import { distinct, groupBy } from '../groups.ts';
import { blockLabel } from '../labels.ts';
import type { CurveFacts, Figure } from '../types.ts';
import { drawFigure, firstOf, leftOut, quantitative, stepAxis, strokeColour } from './encode.ts';
import { adapterPalette } from './theme.ts';

const MOST_PANELS = 4;
const MOST_ADAPTERS = 8;

function panelsOf(some: readonly Condition[], all: readonly Condition[]) {
  const adapters = distinct(some.map(({ adapterLabel }) => adapterLabel)).slice(0, MOST_ADAPTERS);
  const { shown, left } = firstOf([...groupBy(some, blockLabel)], MOST_PANELS);
  return {
    color: strokeColour(adapterPalette(all), adapters),
    blocks: shown.map(([block, of], index) => ({
      block,
      conditions: of.filter(({ adapterLabel }) => adapters.includes(adapterLabel)),
      note: index === 0 ? leftOut(left, 'attack condition') : '',
    })),
  };
}
type Colour = ReturnType<typeof panelsOf>['color'];

const lossesOf = (attack: string, conditions: readonly Condition[]) =>
  conditions.flatMap(({ adapterLabel: adapter, cells }) =>
    cells.flatMap(({ seed, history }) =>
      (history?.points ?? []).map(({ step, loss }) => ({
        ...{ attack, adapter, seed, run: `${adapter} ${seed}`, step, loss },
      })),
    ),
  );

const lossSpec = (
  values: ReturnType<typeof lossesOf>,
  lossName: string,
  color: Colour,
): TopLevelSpec => ({
  width: 350,
  height: 190,
  data: { values },
  mark: { type: 'line', strokeWidth: 1.6, opacity: 0.8 },
  encoding: {
    x: stepAxis(),
    y: quantitative('loss', `training loss (${lossName})`, { scale: { zero: true } }),
    color,
    detail: { field: 'run' },
  },
});

/** Draws a figure for each attack. */
export async function lossFigures(conditions: readonly Condition[]): Promise<readonly Figure[]> {
  const trained = conditions.filter(({ cells }) =>
    cells.some(({ history }) => history !== null && history.points.length > 1),
  );
  const { color, blocks } = panelsOf(trained, conditions);
  const spans = trained.flatMap(({ cells }) => cells.map(({ history }) => history?.span ?? 0));
  const span = Math.max(0, ...spans);
  const figures: Figure[] = [];
  for (const [index, { block, conditions: shown, note }] of blocks.entries()) {
    const values = lossesOf(block, shown);
    const isAttacks = shown.some(({ cells }) => cells.some(({ attacksLoss }) => attacksLoss));
    const caption = [
      `One line for each seed${span > 1 ? `; each point is the mean of ${span} steps` : ''}.`,
      isAttacks
        ? ' The loss is the attack’s own, on another scale than the cross-entropy of other ' +
          'conditions.'
        : '',
      note,
    ];
    figures.push(
      await drawFigure(
        { id: `loss-${index}`, title: `Training loss, ${block}` },
        caption,
        lossSpec(values, isAttacks ? 'the attack’s own' : 'cross-entropy', color),
        csvOf(values, ['attack', 'adapter', 'seed', 'step', 'loss']),
      ),
    );
  }
  return figures;
}

const PANELS: readonly {
  readonly of: Exclude<keyof CurveFacts, 'step'>;
  readonly title: string;
}[] = [
  { of: 'accuracy', title: 'clean accuracy' },
  { of: 'asr', title: 'ASR' },
  { of: 'poisoned_accuracy', title: 'accuracy on poisoned rows' },
];

const pointsOf = (attack: string, conditions: readonly Condition[]) =>
  conditions.flatMap(({ adapterLabel: adapter, cells }) =>
    cells.flatMap(({ seed, curves = [] }) =>
      curves.flatMap((point) =>
        PANELS.flatMap(({ of, title: metric }) => {
          const { step, [of]: value } = point;
          if (value === undefined) return [];
          return [{ attack, adapter, seed, run: `${adapter} ${seed}`, step, metric, value }];
        }),
      ),
    ),
  );

function stepSpec(values: ReturnType<typeof pointsOf>, color: Colour): TopLevelSpec {
  const titles = PANELS.map(({ title }) => title).filter((title) =>
    values.some(({ metric }) => metric === title),
  );
  return {
    data: { values },
    hconcat: titles.map((title) => ({
      width: 200,
      height: 150,
      title: { text: title, fontSize: 11, fontWeight: 'normal' as const },
      transform: [{ filter: { field: 'metric', equal: title } }],
      mark: { type: 'line' as const, point: { size: 14 }, strokeWidth: 1.4, opacity: 0.8 },
      encoding: {
        x: stepAxis({ tickCount: 5 }),
        y: quantitative('value', null, { scale: { domain: [0, 1] } }),
        color,
        detail: { field: 'run' },
      },
    })),
  };
}

/**
 * Draws a figure for each attack, with a panel for each number. Returns none if nothing was
 * evaluated.
 */
export async function stepFigures(conditions: readonly Condition[]): Promise<readonly Figure[]> {
  const evaluated = conditions.filter(({ cells }) =>
    cells.some(({ curves }) => (curves?.length ?? 0) > 1),
  );
  const { color, blocks } = panelsOf(evaluated, conditions);
  const figures: Figure[] = [];
  for (const [index, { block, conditions: shown, note }] of blocks.entries()) {
    const values = pointsOf(block, shown);
    figures.push(
      await drawFigure(
        { id: `steps-${index}`, title: `Over steps, ${block}` },
        ['One line for each seed, from the model as it starts.', note],
        stepSpec(values, color),
        csvOf(values, ['attack', 'adapter', 'seed', 'step', 'metric', 'value']),
      ),
    );
  }
  return figures;
}
