"""PyTorch's side of compare.py: decode a folder of photos, cut 256 px, run the student, write a CSV.

usage: torch_predict.py <folder> <csv>    as the course's script does: Pillow, two loader workers
"""
import csv
import pathlib
import sys

import torch
import torchvision.transforms as T
from PIL import Image
from torch.utils.data import DataLoader, Dataset



class Photos(Dataset):
    cut = T.Compose([T.CenterCrop(256), T.ToTensor()])

    def __init__(self, folder):
        self.paths = sorted(pathlib.Path(folder).glob("*.jpg"))

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        return self.cut(Image.open(self.paths[i]).convert("RGB"))


def main():
    from torch_step import student

    torch.set_num_threads(2)
    model = student().eval().to(memory_format=torch.channels_last)
    photos = Photos(sys.argv[1])
    answers = []
    with torch.no_grad():
        for x in DataLoader(photos, batch_size=32, num_workers=2):
            answers += model(x.contiguous(memory_format=torch.channels_last)).argmax(1).tolist()
    with open(sys.argv[2], "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["Id", "label"])
        writer.writerows(zip((int(p.stem) for p in photos.paths), answers))


if __name__ == "__main__":
    main()
