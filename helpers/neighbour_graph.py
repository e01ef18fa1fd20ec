"""Shortest paths on a graph of neighbouring codes: a rough start for a descent that a line would lead astray."""

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from helpers.descent import Density
from helpers.paths import resample


@torch.no_grad()
def graph_paths(density: Density, z_a: Tensor, z_b: Tensor, codes: Tensor, points: int, neighbours: int = 10) -> Tensor:
    """The shortest ways from z_a to z_b, each (P, d), over `codes` (N, d): (P, points, d), nodes at equal steps of z.

    Each code is joined with its `neighbours` nearest. An edge is as long as `density` makes it, by two midpoints.
    """
    found = []
    for pair, (begin, end) in enumerate(zip(z_a, z_b, strict=True)):
        nodes = torch.cat([begin[None], end[None], codes.to(begin)])
        near = torch.cdist(nodes, nodes).topk(min(neighbours + 1, len(nodes)), largest=False).indices[:, 1:]
        tail = torch.arange(len(nodes), device=nodes.device).repeat_interleave(near.shape[1])
        a, b = nodes[tail], nodes[near.flatten()]
        edges = torch.stack([a, (a + b) / 2, b], 1)
        rows = torch.full((len(edges),), pair, device=nodes.device)
        parts = zip(edges.split(1024), rows.split(1024), strict=True)
        lengths = torch.cat([density(*part).mean(1).sqrt() for part in parts])
        weights = lengths.clamp_min(1e-12).cpu().numpy()  # scipy takes a stored 0 for no edge at all
        graph = coo_matrix((weights, (tail.cpu(), near.flatten().cpu())), shape=(len(nodes),) * 2).tocsr()
        _, before = dijkstra(graph, directed=False, indices=0, return_predecessors=True)
        way = [1]
        while before[way[-1]] >= 0:
            way.append(before[way[-1]])
        if way[-1] != 0:  # the graph does not connect the ends
            way = [1, 0]
        path = nodes[torch.as_tensor(np.array(way[::-1]), device=nodes.device)]
        found.append(resample(path, path.diff(dim=0).norm(dim=1), points))
    return torch.stack(found)
