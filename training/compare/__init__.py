"""The comparisons of Zhang & Boykov (CVPR 2025), run anew on any annotated folder."""
