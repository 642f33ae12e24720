/** The types of src/science/model/types.ts, under the path by which other rooms import them. */
export type * from '../model/types.ts';
