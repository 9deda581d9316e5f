"""Videos for tests, written and read by OpenCV."""

import cv2
import numpy as np


def write_video(path, frames, rate=10):
    """``frames``: arrays (H, W, 3) uint8, RGB. As .avi it is Motion JPEG, which takes sides of any length."""
    codec = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, frames[0].shape[1::-1])
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame[:, :, ::-1].copy())
    writer.release()


def read_video(path):
    """(T, H, W, 3) uint8, RGB, and the frames per second."""
    video = cv2.VideoCapture(str(path))
    rate, frames = video.get(cv2.CAP_PROP_FPS), []
    while (step := video.read())[0]:
        frames.append(step[1][:, :, ::-1])
    video.release()
    return np.array(frames), rate
