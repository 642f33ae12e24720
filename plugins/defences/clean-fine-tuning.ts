import { defineDefence } from '../../src/api.ts';
import {
  CLEAN_TRAINING,
  type CleanTraining,
  cleanTraining,
} from '../../src/defences/parameters.ts';

export default defineDefence<CleanTraining>({
  name: 'clean-fine-tuning',
  summary: "The trained model is trained further on the defender's clean rows alone.",
  citation:
    'Liu, Dolan-Gavitt and Garg, Fine-Pruning: Defending Against Backdooring Attacks on Deep ' +
    'Neural Networks, RAID 2018 (section 3, fine-tuning)',
  tasks: ['classes', 'completion'],
  params: {
    type: 'object',
    properties: CLEAN_TRAINING,
  },
  model: {
    retrain: cleanTraining,
  },
});
