"""How to attend: plain causal, packed causal (training, prefill) and cached (decoding).

Each is a callable `(q, k, v) -> output` that a block is given; the block knows no lengths, masks or caches.
Masks come from lengths and positions only, never from a token's value.

Letters: B batch, T tokens, N sequences, S longest sequence, H query heads, K key/value heads, d head_dim.
"""

import inspect
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from model import tiles
from model.exact import KEY_TILES, QUERY_TILE, keys_read, pad, whole

try:  # flash attention over packed sequences: CUDA and half precision only
    from torch.nn.attention.varlen import varlen_attn
except ImportError:
    varlen_attn = None
HALF = (torch.bfloat16, torch.float16)
VARLEN_ARGUMENTS = set(inspect.signature(varlen_attn).parameters) if varlen_attn else set()  # versions differ
# The kernel behind it could read a part of each sequence before the function (2.11) let its callers say so.
FLASH = torch.ops.aten._flash_attention_forward.default
FLASH_ARGUMENTS = {argument.name for argument in FLASH._schema.arguments}


def causal(q: Tensor, k: Tensor, v: Tensor, key_tile: int = 0) -> Tensor:
    """[B, T, H, d] x [B, T, K, d] -> [B, T, H, d], each row alone. Query head h reads key head h // (H/K).

    key_tile: exact.py's; 0 pads nothing.
    """
    if key_tile == tiles.KEYS:
        return tiles.with_gradient_of(causal, tiles.causal, q, k, v)
    q = q.transpose(1, 2)  # [B, H, T, d]
    k = k.transpose(1, 2)
    v = v.transpose(1, 2)
    length = q.shape[2]
    if key_tile:
        keys = keys_read(length, key_tile)
        q, k, v = pad(q, whole(length, QUERY_TILE), 2), pad(k, keys, 2), pad(v, keys, 2)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out[:, :, :length].transpose(1, 2)


def _varlen_causal(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, max_seqlen: int) -> Tensor:
    """[T, H, d] x [T, K, d] -> [T, H, d], by the flash kernel."""
    settings = {"window_size": (-1, 0)} if "window_size" in VARLEN_ARGUMENTS else {"is_causal": True}
    group = q.shape[1] // k.shape[1]
    if "enable_gqa" in VARLEN_ARGUMENTS:
        settings["enable_gqa"] = group > 1
    else:
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    return varlen_attn(q, k, v, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, **settings)


class PackedCausal:
    """Attend causally within each of N sequences that lie end to end in one row of T tokens.

    On CUDA in half precision the flash kernel reads the packed row as it is. Elsewhere the sequences are laid
    side by side for SDPA, on a CPU those of like lengths together, since a row costs the square of the
    longest: that padding exists inside this class alone. Right padding needs no mask, since a causal query
    never looks to its right and the padded queries are dropped.
    """

    LIKE = 0.75  # lengths that lie side by side: down to this share of the longest

    def __init__(self, cu_seqlens: Tensor, max_seqlen: int, key_tile: int = 0):
        """cu_seqlens [N + 1] int32: where sequences begin, and T. max_seqlen: the longest. key_tile: as above."""
        self.cu_seqlens, self.key_tile = cu_seqlens, key_tile
        tile = KEY_TILES[0] if key_tile else 1  # laid in whole tiles, most need no further padding
        self.max_seqlen = whole(max_seqlen, tile)
        lengths, begins = cu_seqlens.diff(), cu_seqlens[:-1]
        self.num_sequences = lengths.numel()
        device = lengths.device
        sequences = torch.arange(self.num_sequences, device=device)
        rows = torch.repeat_interleave(sequences, lengths)  # [T]: of each token, its sequence
        offsets = torch.arange(rows.numel(), device=device) - begins[rows]  # [T]: its place in the sequence
        self.slots = rows * self.max_seqlen + offsets  # [T]: its place in the flat [N * S]
        # Tokens [t] of n like sequences, their slots, n, S.
        self.groups: list[tuple[Tensor, Tensor, int, int]] = []
        if cu_seqlens.is_cuda:  # it would have to be asked for the lengths
            return

        order = lengths.argsort(descending=True, stable=True)
        longest, sizes = _runs_of_like(lengths[order].tolist(), self.LIKE)
        row_in_group = torch.empty_like(order)
        for members, length in zip(order.split(sizes), longest, strict=True):
            width = whole(length, tile)
            row_in_group[members] = torch.arange(len(members))
            tokens = torch.isin(rows, members).nonzero()[:, 0]
            slots = row_in_group[rows[tokens]] * width + offsets[tokens]
            self.groups.append((tokens, slots, len(members), width))
        grouped = torch.cat([tokens for tokens, *_ in self.groups])
        self.inverse = grouped.argsort()  # [T]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [1, T, H, d], k and v [1, T, K, d] -> [1, T, H, d]."""
        if varlen_attn is not None and q.is_cuda and q.dtype in HALF and not self.key_tile:
            return _varlen_causal(q[0], k[0], v[0], self.cu_seqlens, self.max_seqlen)[None]
        if self.num_sequences == 1:
            return causal(q, k, v, self.key_tile)
        qkv = (q[0], k[0], v[0])
        # Compiled, it would be compiled anew for each number of groups.
        if q.is_cuda or torch.compiler.is_compiling() or len(self.groups) == 1:
            return self._side_by_side(qkv, self.slots, self.num_sequences, self.max_seqlen)[None]
        found = []
        for tokens, slots, n, width in self.groups:
            members = [x.index_select(0, tokens) for x in qkv]
            found.append(self._side_by_side(members, slots, n, width))
        return torch.cat(found).index_select(0, self.inverse)[None]

    def _side_by_side(self, qkv: Sequence[Tensor], slots: Tensor, n: int, width: int) -> Tensor:
        """Attend in n rows of `width` places: q [t, H, d], k and v [t, K, d] lie where `slots` [t] says."""
        laid = []
        for x in qkv:
            flat = x.new_zeros(n * width, *x.shape[1:]).index_copy(0, slots, x)
            laid.append(flat.unflatten(0, (n, width)))
        return causal(*laid, self.key_tile).flatten(0, 1).index_select(0, slots)


def _runs_of_like(lengths: list[int], like: float) -> tuple[list[int], list[int]]:
    """Cut falling lengths into runs of like ones; return each run's longest and how many it has."""
    longest: list[int] = []
    sizes: list[int] = []
    for length in lengths:
        if not longest or length < like * longest[-1]:
            longest.append(length)
            sizes.append(0)
        sizes[-1] += 1
    return longest, sizes


class PrefillInto:
    """Packed causal attention that also hands this block's keys and values, [T, K, d] each, to `store`."""

    def __init__(self, packed: PackedCausal, store: Callable[[Tensor, Tensor], object]):
        self.packed, self.store = packed, store

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Shapes as PackedCausal."""
        self.store(k[0], v[0])
        return self.packed(q, k, v)


def flash_reads_cache(keys: Tensor) -> bool:
    """Whether the flash kernel can read a cache of this dtype and device as it lies."""
    return keys.is_cuda and keys.dtype in HALF and "seqused_k" in VARLEN_ARGUMENTS | FLASH_ARGUMENTS


class NewestTokens:
    """Where the newest token of each of B rows goes in a cache, and how far it sees.

    Made once a step and shared by all blocks. Each row and key head is a sequence of its own, B * K of them,
    which the g = H / K query heads that read it attend to together.
    """

    def __init__(self, places: Tensor, keys: Tensor, span: int, key_tile: int = 0):
        """places [B]: the token's place, the last one that it sees. keys: the cache's, [L, R, K, S, d]. span:
        places read at all, above the largest. key_tile: exact.py's.
        """
        self.places, self.key_tile = places, key_tile
        key_heads, capacity = keys.shape[2:4]
        each = places.repeat_interleave(key_heads)  # [B * K]
        begins = torch.arange(len(each) + 1, device=places.device) * capacity
        self.slots = begins[:-1] + each  # [B * K]: in the flat [R * K * S]
        if flash_reads_cache(keys) and not key_tile:
            self.seqused = (each + 1).int()
            self.cu_queries = torch.arange(len(each) + 1, device=places.device, dtype=torch.int32)
            self.cu_keys = begins.int()
        else:
            each = places if key_tile else each
            hidden = torch.arange(span, device=places.device) > each[:, None]  # [B * K, span], or [B, span]
            mask = torch.zeros_like(hidden, dtype=keys.dtype).masked_fill_(hidden, float("-inf"))
            self.mask = mask[:, None, None] if key_tile else mask[:, None]
            """[B * K, 1, span]; with a key_tile [B, 1, 1, span]."""


class Cached:
    """One new token a row: write its key and value to the row's next place, then attend over the row."""

    def __init__(self, keys: Tensor, values: Tensor, newest: NewestTokens):
        """keys, values [R, K, S, d]: this block's cache, of which the first B rows are in use."""
        self.keys, self.values, self.newest = keys, values, newest

    @torch.compiler.disable  # compiled, a write to the cache copies all of it
    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [B, 1, H, d], k and v [B, 1, K, d] -> [B, 1, H, d]."""
        new, d = self.newest, q.shape[-1]
        self.keys.view(-1, d).index_copy_(0, new.slots, k.flatten(0, 2))
        self.values.view(-1, d).index_copy_(0, new.slots, v.flatten(0, 2))
        queries = q.reshape(len(new.slots), -1, d)  # [B * K, g, d]
        if new.key_tile:
            return self._by_tile(q)
        if flash_reads_cache(self.keys):
            return self._by_flash(queries).view_as(q)

        count, _, span = new.mask.shape
        keys = self.keys.flatten(0, 1)[:count, :span]  # [B * K, span, d]
        values = self.values.flatten(0, 1)[:count, :span]
        if q.is_cuda:
            heads = [x[:, None] for x in (queries, keys, values, new.mask)]  # one a sequence
            return F.scaled_dot_product_attention(*heads).reshape(q.shape)
        # SDPA's kernel for the CPU likes large tiles; two products of small sizes take half its time.
        scores = torch.bmm(queries * d**-0.5, keys.mT).add_(new.mask)  # [B * K, g, span]
        return torch.bmm(scores.softmax(-1), values).view_as(q)

    def _by_tile(self, q: Tensor) -> Tensor:
        """[B, 1, H, d] -> the same, by the kernel of `causal`: the heads that read one key head are rows of a tile."""
        mask = self.newest.mask  # [B, 1, 1, span]
        rows, span = len(q), mask.shape[-1]
        keys, values = self.keys[:rows, :, :span], self.values[:rows, :, :span]  # [B, K, span, d]
        queries = q[:, 0].unflatten(1, (keys.shape[1], -1))  # [B, K, g, d]
        if self.newest.key_tile == tiles.KEYS:
            last = self.newest.places[:, None].expand(-1, queries.shape[2])
            return tiles.attend(queries, keys, values, last).flatten(1, 2)[:, None]
        tile = pad(queries, whole(queries.shape[2], QUERY_TILE), 2)
        mask = mask.expand(-1, -1, tile.shape[2], -1)
        if tile.shape[:2].numel() == 1:  # alone, its products would be divided among the threads
            tile, keys, values = (x.expand(2, -1, -1, -1) for x in (tile, keys, values))
        out = F.scaled_dot_product_attention(tile, keys, values, attn_mask=mask)
        return out[:rows, :, : queries.shape[2]].flatten(1, 2)[:, None]

    def _by_flash(self, queries: Tensor) -> Tensor:
        """[B * K, g, d] -> the same: each sequence's one token over what its S places hold so far."""
        new = self.newest
        capacity, d = self.keys.shape[2:]
        keys, values = self.keys.view(-1, 1, d), self.values.view(-1, 1, d)  # [R * K * S, 1, d]
        call = (queries, keys, values, new.cu_queries, new.cu_keys, 1, capacity)
        if "seqused_k" in VARLEN_ARGUMENTS:
            return varlen_attn(*call, enable_gqa=True, seqused_k=new.seqused)
        out, *_ = FLASH(*call, 0.0, False, False, seqused_k=new.seqused)
        return out
