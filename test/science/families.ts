/** Model families, as their plugins load them. */
import bertPlugin from '../../plugins/models/bert.ts';

export const bert = await bertPlugin.load();
