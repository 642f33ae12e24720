/**
 * Principal components: the coordinates in which rows vary most. Rows are clustered in these, since
 * distances in many dimensions are nearly equal.
 */
import {
  centredColumns,
  checkRepresentations,
  meanOf,
  type Representations,
} from '../../../src/defences/representations.ts';
import { leadingLeftVectors } from '../../../src/tensor/linalg.ts';

/**
 * Returns the rows minus their mean, along the `components` leading right singular vectors of that
 * matrix: (N, min(components, N, d)). The sign of each coordinate is arbitrary.
 */
export function principalComponents(rows: Representations, components: number): Representations {
  checkRepresentations(rows);
  const { count, dimensions: d } = rows,
    all = Array.from({ length: count }, (_, i) => i),
    k = Math.min(components, count, d);
  const columns = centredColumns(rows, all, meanOf(rows, all)); // (d, N)
  const directions = leadingLeftVectors(columns, d, count, k); // (d, k)
  const values = new Float64Array(count * k);
  for (let j = 0; j < d; j++)
    for (let i = 0; i < count; i++)
      for (let c = 0; c < k; c++)
        values[i * k + c]! += columns[j * count + i]! * directions[j * k + c]!;
  return { values, count, dimensions: k };
}
