import { BERT } from '../../src/science/models/families/bert-like.ts';
import { familyModel } from '../../src/science/models/families/parts.ts';

export default familyModel(
  'bert',
  'BERT (Devlin et al. 2019): an encoder with a classification or masked-LM head.',
  BERT,
);
