/**
 * The kinds of parameters that an optimiser treats unlike others, as prefixes of the names of its
 * groups (trained-values.ts): exempt from weight decay, or with a learning rate of their own.
 */
import type { Adapter } from '../models/adapter.ts';
import { isBiasOrNorm } from './optim/decay.ts';
import type { TrainSettings } from './settings.ts';

const FREE = 'free ';

/** Returns the kind of a parameter, the prefix of its group's name. */
export const groupKind =
  (
    { rate = () => 1 }: Pick<Adapter, 'rate'>,
    { decay }: Pick<TrainSettings, 'decay'>,
  ): ((name: string) => string) =>
  (name) =>
    (decay === 'weights' && isBiasOrNorm(name) ? FREE : '') +
    (rate(name) === 1 ? '' : `rate ${rate(name)} `);

/** Whether the parameters of a group decay. */
export const decays = (group: string): boolean => !group.startsWith(FREE);

/** What the learning rate of a group is multiplied by. */
export const groupRate = (group: string): number =>
  Number(/^(?:free )?rate (\S+) /.exec(group)?.[1] ?? 1);
