"""The cases of families.py: for each family and head a tiny configuration, with the corner cases of
its checkpoints as cases of their own.

A case is Case(name, family, config class, head, settings of the config, and what differs from a
plain `save_pretrained`):
  dtype    the type the tensors are stored in ('bfloat16', 'float16')
  shard    the largest size of a shard ('12KB')
  older    settings that config.json has as in checkpoints of transformers 4: a function of the
           parsed file, which returns it
  tensors  the tensors' names as older files have them: a function of {name: tensor}, which returns
           it
  eos_many eos_token_id is a list
"""

from dataclasses import dataclass
from typing import Callable, Optional

from transformers import (
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    XLMRobertaConfig,
)

CLASSES = 3


@dataclass
class Case:
    name: str
    family: str
    config: type
    head: str  # 'classifier', 'cloze' or 'causal-lm'
    settings: dict
    dtype: Optional[str] = None
    shard: Optional[str] = None
    older: Optional[Callable] = None
    tensors: Optional[Callable] = None
    eos_many: bool = False


# ---- config.json as transformers 4 wrote it
def older_dtype(saved):
    saved['torch_dtype'] = saved.pop('dtype', 'float32')
    return saved


def older_rope(scaling_name):
    """rope_theta beside rope_scaling, which names its kind `scaling_name` ('type' until 4.43, then
    'rope_type').
    """

    def change(saved):
        rope = dict(saved.pop('rope_parameters'))
        saved['rope_theta'] = rope.pop('rope_theta')
        kind = rope.pop('rope_type')
        saved['rope_scaling'] = None if kind == 'default' else {scaling_name: kind, **rope}
        return older_dtype(saved)

    return change


def older_modernbert(saved):
    rope = saved.pop('rope_parameters')
    saved['global_rope_theta'] = rope['full_attention']['rope_theta']
    saved['local_rope_theta'] = rope['sliding_attention']['rope_theta']
    saved.pop('layer_types')
    saved['global_attn_every_n_layers'] = 3
    return older_dtype(saved)


def older_neox(saved):
    rope = saved.pop('rope_parameters')
    saved['rotary_emb_base'] = rope['rope_theta']
    saved['rotary_pct'] = rope['partial_rotary_factor']
    return older_dtype(saved)


def older_window(saved):
    """As Qwen2 files that do not list the kinds of layers."""
    saved.pop('layer_types')
    return older_rope('type')(saved)


def older_deberta(saved):
    """As microsoft/deberta-v3-*: one string."""
    return older_dtype({**saved, 'pos_att_type': '|'.join(saved['pos_att_type'])})


# ---- tensors as older files have them
def gamma_and_beta(tensors):
    """As bert-base-uncased has its norms."""
    return {
        name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace(
            'LayerNorm.bias', 'LayerNorm.beta'
        ): value
        for name, value in tensors.items()
    }


def bare_gpt2(tensors):
    """As gpt2 has them: no prefix, and each layer's causal mask."""
    import torch

    bare = {name.removeprefix('transformer.'): value for name, value in tensors.items()}
    for layer in sorted({name.split('.')[1] for name in bare if name.startswith('h.')}):
        bare[f'h.{layer}.attn.bias'] = torch.ones(8, 8).tril().view(1, 1, 8, 8)
    return bare


# ---- the settings
VOCABULARY = 67
NO_DROPOUT = {
    'hidden_dropout_prob': 0.0,
    'attention_probs_dropout_prob': 0.0,
    'classifier_dropout': 0.0,
}
encoder = {
    'vocab_size': VOCABULARY,
    'hidden_size': 16,
    'num_attention_heads': 2,
    'intermediate_size': 23,
    'num_hidden_layers': 2,
    'max_position_embeddings': 31,
}
distil = {
    'vocab_size': VOCABULARY,
    'dim': 16,
    'n_heads': 2,
    'hidden_dim': 23,
    'n_layers': 2,
    'max_position_embeddings': 31,
    'dropout': 0.0,
    'attention_dropout': 0.0,
    'seq_classif_dropout': 0.0,
}
roberta = {
    **encoder,
    **NO_DROPOUT,
    'type_vocab_size': 1,
    'pad_token_id': 1,
    'bos_token_id': 0,
    'eos_token_id': 2,
    'layer_norm_eps': 1e-5,
}
# max_relative_positions −1 is max_position_embeddings; the texts are longer than the 4 buckets
# that are one position each.
deberta = {
    **encoder,
    'hidden_dropout_prob': 0.0,
    'attention_probs_dropout_prob': 0.0,
    'pooler_dropout': 0.0,
    'type_vocab_size': 0,
    'relative_attention': True,
    'position_buckets': 8,
    'max_relative_positions': -1,
    'norm_rel_ebd': 'layer_norm',
    'share_att_key': True,
    'pos_att_type': 'p2c|c2p',
    'position_biased_input': False,
    'layer_norm_eps': 1e-7,
    'pad_token_id': 0,
}
modern = {
    **encoder,
    'num_hidden_layers': 4,
    'local_attention': 6,
    'classifier_dropout': 0.0,
    'pad_token_id': 0,
    'bos_token_id': 1,
    'cls_token_id': 1,
    'eos_token_id': 2,
    'sep_token_id': 2,
    'layer_types': ['full_attention', 'sliding_attention', 'sliding_attention', 'full_attention'],
    'rope_parameters': {
        'full_attention': {'rope_type': 'default', 'rope_theta': 400.0},
        'sliding_attention': {'rope_type': 'default', 'rope_theta': 20.0},
    },
}
decoder = {
    'vocab_size': VOCABULARY,
    'hidden_size': 16,
    'num_attention_heads': 4,
    'num_key_value_heads': 2,
    'intermediate_size': 23,
    'num_hidden_layers': 2,
    'max_position_embeddings': 64,
    'bos_token_id': 1,
    'attention_dropout': 0.0,
}
gpt2 = {
    'vocab_size': VOCABULARY,
    'n_embd': 16,
    'n_head': 2,
    'n_layer': 2,
    'n_positions': 64,
    'resid_pdrop': 0.0,
    'embd_pdrop': 0.0,
    'attn_pdrop': 0.0,
    'bos_token_id': 1,
}
neox = {key: value for key, value in decoder.items() if key != 'num_key_value_heads'}
neox.update(num_attention_heads=2, hidden_dropout=0.0, classifier_dropout=0.0, hidden_act='gelu')
PAD = {'pad_token_id': 0}


def rope(kind='default', theta=10000.0, **more):
    return {'rope_parameters': {'rope_type': kind, 'rope_theta': theta, **more}}


# Wavelengths of 6.3, 33, 177 and 937 positions: with these bounds some are kept, some blended and
# some stretched.
LLAMA3 = rope(
    'llama3',
    800.0,
    factor=4.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
LLAMA3['max_position_embeddings'] = 256

# With d = 8 the four frequencies turn 10.2, 3.2, 1.0 and 0.3 times within the original context:
# kept, blended twice and stretched.
YARN = rope(
    'yarn', 100.0, factor=4.0, beta_fast=8.0, beta_slow=0.5, original_max_position_embeddings=64
)
YARN.update(max_position_embeddings=256, num_attention_heads=2, num_key_value_heads=1)
YARN_MSCALE = {
    **YARN,
    'rope_parameters': {
        **YARN['rope_parameters'],
        'mscale': 1.2,
        'mscale_all_dim': 0.8,
        'truncate': False,
    },
}

CASES = [
    # ---- Llama
    Case('llama-causal', 'llama', LlamaConfig, 'causal-lm', {**decoder, **rope()}),
    Case(
        'llama-causal-tied',
        'llama',
        LlamaConfig,
        'causal-lm',
        {**decoder, **rope(theta=500000.0), 'tie_word_embeddings': True},
        older=older_rope('type'),
    ),
    Case(
        'llama-causal-linear',
        'llama',
        LlamaConfig,
        'causal-lm',
        {**decoder, **rope('linear', 100.0, factor=2.5)},
        older=older_rope('type'),
    ),
    Case(
        'llama-causal-llama3',
        'llama',
        LlamaConfig,
        'causal-lm',
        {
            **decoder,
            **LLAMA3,
            'num_attention_heads': 2,
            'num_key_value_heads': 1,
            'tie_word_embeddings': True,
        },
        older=older_rope('rope_type'),
        eos_many=True,
    ),
    Case(
        'llama-causal-llama3-new',
        'llama',
        LlamaConfig,
        'causal-lm',
        {**decoder, **LLAMA3, 'num_attention_heads': 2, 'num_key_value_heads': 2},
    ),
    Case('llama-causal-yarn', 'llama', LlamaConfig, 'causal-lm', {**decoder, **YARN}),
    Case(
        'llama-causal-yarn-mscale',
        'llama',
        LlamaConfig,
        'causal-lm',
        {**decoder, **YARN_MSCALE},
        older=older_rope('type'),
    ),
    Case(
        'llama-causal-dynamic',
        'llama',
        LlamaConfig,
        'causal-lm',
        {**decoder, **rope('dynamic', factor=2.0)},
        older=older_rope('type'),
    ),
    Case(
        'llama-causal-biases',
        'llama',
        LlamaConfig,
        'causal-lm',
        {**decoder, **rope(), 'attention_bias': True, 'mlp_bias': True, 'head_dim': 6},
    ),
    Case(
        'llama-causal-bf16',
        'llama',
        LlamaConfig,
        'causal-lm',
        {**decoder, **rope(), 'num_key_value_heads': 1},
        dtype='bfloat16',
    ),
    Case(
        'llama-causal-f16',
        'llama',
        LlamaConfig,
        'causal-lm',
        {**decoder, **rope(), 'num_key_value_heads': 4},
        dtype='float16',
    ),
    Case(
        'llama-causal-sharded',
        'llama',
        LlamaConfig,
        'causal-lm',
        {**decoder, **rope()},
        shard='7KB',
    ),
    Case('llama-classifier', 'llama', LlamaConfig, 'classifier', {**decoder, **rope(), **PAD}),
    # ---- GPT-2
    Case('gpt2-causal', 'gpt2', GPT2Config, 'causal-lm', gpt2),
    Case(
        'gpt2-causal-bare',
        'gpt2',
        GPT2Config,
        'causal-lm',
        {**gpt2, 'n_inner': 23},
        older=older_dtype,
        tensors=bare_gpt2,
    ),
    Case(
        'gpt2-causal-untied',
        'gpt2',
        GPT2Config,
        'causal-lm',
        {**gpt2, 'tie_word_embeddings': False, 'activation_function': 'gelu'},
    ),
    Case('gpt2-classifier', 'gpt2', GPT2Config, 'classifier', {**gpt2, **PAD}),
    # The usual setting, since GPT-2 has no padding token: a row that ends in eos is read at the
    # token before it.
    Case(
        'gpt2-classifier-pad-is-eos',
        'gpt2',
        GPT2Config,
        'classifier',
        {**gpt2, 'eos_token_id': 66, 'pad_token_id': 66},
    ),
    # ---- encoders
    Case('bert-classifier', 'bert', BertConfig, 'classifier', {**encoder, **NO_DROPOUT}),
    Case(
        'bert-classifier-literal-pad',
        'bert',
        BertConfig,
        'classifier',
        {**encoder, **NO_DROPOUT, **PAD},
    ),
    Case('bert-cloze', 'bert', BertConfig, 'cloze', {**encoder, **NO_DROPOUT}),
    Case(
        'bert-cloze-gamma',
        'bert',
        BertConfig,
        'cloze',
        {**encoder, **NO_DROPOUT},
        older=older_dtype,
        tensors=gamma_and_beta,
    ),
    Case('roberta-classifier', 'roberta', RobertaConfig, 'classifier', roberta),
    Case('roberta-classifier-literal-pad', 'roberta', RobertaConfig, 'classifier', roberta),
    Case('roberta-cloze', 'roberta', RobertaConfig, 'cloze', roberta, older=older_dtype),
    Case('distilbert-classifier', 'distilbert', DistilBertConfig, 'classifier', distil),
    Case(
        'distilbert-classifier-relu',
        'distilbert',
        DistilBertConfig,
        'classifier',
        {**distil, 'activation': 'relu'},
    ),
    Case('distilbert-cloze', 'distilbert', DistilBertConfig, 'cloze', distil),
    # ---- Qwen
    Case(
        'qwen2-causal',
        'qwen2',
        Qwen2Config,
        'causal-lm',
        {**decoder, **rope(theta=1000000.0), 'tie_word_embeddings': True},
        older=older_rope('type'),
    ),
    # The second layer alone has a window, as in files that state max_window_layers.
    Case(
        'qwen2-causal-window',
        'qwen2',
        Qwen2Config,
        'causal-lm',
        {
            **decoder,
            **rope(),
            'use_sliding_window': True,
            'sliding_window': 4,
            'max_window_layers': 1,
        },
        older=older_window,
    ),
    Case('qwen2-classifier', 'qwen2', Qwen2Config, 'classifier', {**decoder, **rope(), **PAD}),
    Case(
        'qwen3-causal',
        'qwen3',
        Qwen3Config,
        'causal-lm',
        {**decoder, **rope(theta=1000000.0), 'head_dim': 8, 'tie_word_embeddings': True},
        older=older_rope('rope_type'),
    ),
    Case(
        'qwen3-causal-ungrouped',
        'qwen3',
        Qwen3Config,
        'causal-lm',
        {**decoder, **rope(), 'head_dim': 6, 'num_key_value_heads': 4},
    ),
    Case(
        'qwen3-causal-biases',
        'qwen3',
        Qwen3Config,
        'causal-lm',
        {
            **decoder,
            **rope(),
            'head_dim': 8,
            'attention_bias': True,
            'use_sliding_window': True,
            'sliding_window': 5,
            'layer_types': ['sliding_attention', 'full_attention'],
        },
    ),
    Case(
        'qwen3-classifier',
        'qwen3',
        Qwen3Config,
        'classifier',
        {**decoder, **rope(), **PAD, 'head_dim': 8},
    ),
    # ---- ModernBERT
    Case(
        'modernbert-classifier-cls',
        'modernbert',
        ModernBertConfig,
        'classifier',
        {**modern, 'classifier_pooling': 'cls'},
    ),
    Case(
        'modernbert-classifier-mean',
        'modernbert',
        ModernBertConfig,
        'classifier',
        {**modern, 'classifier_pooling': 'mean'},
        older=older_modernbert,
    ),
    Case(
        'modernbert-classifier-biases',
        'modernbert',
        ModernBertConfig,
        'classifier',
        {
            **modern,
            'norm_bias': True,
            'attention_bias': True,
            'mlp_bias': True,
            'classifier_bias': True,
            'hidden_activation': 'silu',
            'classifier_activation': 'relu',
        },
    ),
    Case(
        'modernbert-cloze', 'modernbert', ModernBertConfig, 'cloze', modern, older=older_modernbert
    ),
    # ---- GPT-NeoX (Pythia)
    Case(
        'gpt-neox-causal',
        'gpt_neox',
        GPTNeoXConfig,
        'causal-lm',
        {**neox, **rope(partial_rotary_factor=0.5), 'use_parallel_residual': True},
        older=older_neox,
    ),
    Case(
        'gpt-neox-causal-serial',
        'gpt_neox',
        GPTNeoXConfig,
        'causal-lm',
        {**neox, **rope(partial_rotary_factor=0.25), 'use_parallel_residual': False},
    ),
    Case(
        'gpt-neox-causal-tied',
        'gpt_neox',
        GPTNeoXConfig,
        'causal-lm',
        {
            **neox,
            **rope(partial_rotary_factor=1.0),
            'attention_bias': False,
            'tie_word_embeddings': True,
        },
    ),
    Case(
        'gpt-neox-classifier',
        'gpt_neox',
        GPTNeoXConfig,
        'classifier',
        {**neox, **rope(partial_rotary_factor=0.5), **PAD},
    ),
    # ---- DeBERTa-v3
    Case(
        'deberta-v3-classifier',
        'deberta-v2',
        DebertaV2Config,
        'classifier',
        deberta,
        older=older_deberta,
    ),
    Case('deberta-v3-cloze', 'deberta-v2', DebertaV2Config, 'cloze', {**deberta, 'legacy': False}),
    Case(
        'deberta-v3-cloze-legacy',
        'deberta-v2',
        DebertaV2Config,
        'cloze',
        {**deberta, 'legacy': True},
    ),
    # What v2's configurations allow: layers of their own for positions, which are clipped;
    # absolute positions and types too.
    Case(
        'deberta-v2-classifier',
        'deberta-v2',
        DebertaV2Config,
        'classifier',
        {
            **deberta,
            'share_att_key': False,
            'position_buckets': -1,
            'max_relative_positions': 7,
            'norm_rel_ebd': 'none',
            'position_biased_input': True,
            'type_vocab_size': 2,
            'pooler_hidden_act': 'tanh',
        },
    ),
    Case(
        'deberta-v2-cloze-p2c',
        'deberta-v2',
        DebertaV2Config,
        'cloze',
        {**deberta, 'share_att_key': False, 'position_buckets': 7, 'pos_att_type': 'p2c'},
    ),
    # ---- Gemma
    Case(
        'gemma-causal',
        'gemma',
        GemmaConfig,
        'causal-lm',
        {**decoder, **rope(), **PAD, 'num_key_value_heads': 1, 'head_dim': 8},
        older=older_rope('type'),
    ),
    Case(
        'gemma-classifier',
        'gemma',
        GemmaConfig,
        'classifier',
        {**decoder, **rope(), **PAD, 'head_dim': 6},
    ),
    # ---- XLM-RoBERTa, Mistral
    Case('xlm-roberta-classifier', 'xlm-roberta', XLMRobertaConfig, 'classifier', roberta),
    Case('xlm-roberta-cloze', 'xlm-roberta', XLMRobertaConfig, 'cloze', roberta),
    Case(
        'mistral-causal',
        'mistral',
        MistralConfig,
        'causal-lm',
        {**decoder, **rope(), 'sliding_window': 4},
        older=older_rope('type'),
    ),
    Case(
        'mistral-causal-no-window',
        'mistral',
        MistralConfig,
        'causal-lm',
        {**decoder, **rope(), 'sliding_window': None, 'head_dim': 6},
    ),
    Case(
        'mistral-classifier',
        'mistral',
        MistralConfig,
        'classifier',
        {**decoder, **rope(), **PAD, 'sliding_window': 4},
    ),
]
EOS = 2  # moved to a token that ends some of the generations, where a case generates
