"""The words of the measured tables in Korean, for README.ko.md; what is not here stays English."""

from __future__ import annotations

import re

_WORDS = {
    "model": "모델",
    "metric": "지표",
    "mean": "평균",
    "95 % interval": "95% 신뢰 구간",
    "noisy input": "잡음 섞인 입력",
    "lowest SI-SDR, dB": "최저 SI-SDR, dB",
    "processes of one thread": "스레드 하나인 프로세스",
    "training step, ours ÷ torch.nn": "학습 스텝, 이 엔진 ÷ torch.nn",
    "ours, s of audio per core-second": "이 엔진, 코어 초당 오디오(초)",
    "part": "목록",
    "held-out": "첫 번째 목록",
    "unseen noise": "처음 듣는 잡음",
    "clean speech": "깨끗한 음성",
    "other domain": "다른 영역",
    "in a room": "방 안",
    "quiet": "작은 소리",
    "network": "신경망",
    "processor": "프로세서",
    "training step": "학습 스텝",
    "forward": "순전파",
    "peak memory": "최대 메모리",
    "reference engine": "기준 엔진",
    "sound": "녹음 길이",
    "time / sound": "시간 / 길이",
    "processor time / sound": "프로세서 시간 / 길이",
    "memory, MB": "메모리, MB",
    "file, time / sound": "파일: 시간 / 길이",
    "hop, ms": "홉, ms",
    "work for a hop, ms": "홉 하나의 처리, ms",
    "99.9 % of hops, ms": "홉 99.9 %의 처리, ms",
    "hop, time / sound": "홉: 시간 / 길이",
    "latency, ms": "지연, ms",
    "all": "녹음 전체",
}
_PATTERNS = (  # inside a cell, or in the sentences below a table
    (r"(\d+) threads?\b", r"스레드 \1개"),
    (r"\bbatch (\d+)", r"배치 \1"),
    (r"([-\d.]+) to ([-\d.]+)", r"\1~\2"),
    (r"([\d.]+) times ours", r"이 엔진의 \1배"),
    (r"^(\d+) s$", r"\1초"),
    (r"^(\d+) min$", r"\1분"),
    (r"^(\d+) h$", r"\1시간"),
    (
        r"48 kHz stereo, from file to file, once the weights and the code are loaded; memory is "
        r"the peak above that\. Other work on the machine \(load (\S+) on (\d+) processors\) "
        r"lengthens the time, but hardly the processor time of one thread, which is what it would "
        r"take alone\.",
        r"48 kHz 스테레오 녹음을 읽어 결과 파일을 쓰기까지의 값입니다. 가중치와 코드를 "
        r"불러온 뒤부터 쟀고, 메모리는 그때보다 늘어난 최댓값입니다. 다른 작업(프로세서 \2개에 "
        r"부하 \1)이 있으면 시간은 길어지지만, 스레드 하나의 프로세서 시간은 거의 그대로이며, "
        r"이것이 다른 작업 없이 걸릴 시간입니다.",
    ),
    (
        r"(\d+) s of noisy speech, 16 kHz mono, take (\S+) s of a processor in Chromium "
        r"\(real-time factor (\S+); Python (\S+)\), and the result differs from Python's by (\S+) "
        r"of full scale at most\.",
        r"잡음 섞인 16 kHz 모노 음성 \1초를 Chromium이 프로세서 시간 \2초에 처리하며(실시간 "
        r"비율 \3, Python \4), 결과는 Python의 결과와 최대 진폭의 \5까지만 다릅니다.",
    ),
    (
        r"v5-base, (\d+) clips of (\d+) frames of (\d+) ms\. Peak memory, ours ÷ torch\.nn: "
        r"(\S+) \((\d+) and (\d+) MiB\)\.",
        r"v5-base, \3 ms 프레임 \2개 길이의 클립 \1개. 최대 메모리, 이 엔진 ÷ torch.nn: \4 "
        r"(\5 MiB와 \6 MiB).",
    ),
    (
        r"noisereduce holds all of a recording; it was tried up to (\d+) min\.",
        r"noisereduce는 녹음 전체를 메모리에 올리므로 \1분까지만 쟀습니다.",
    ),
    (
        r"(\d+) s of 16 kHz mono, processor time of one thread, once all is loaded; memory is the "
        r"peak of file to file above that\. RNNoise and DeepFilterNet3 work at 48 kHz, so file to "
        r"file they are resampled there and back\.",
        r"16 kHz 모노 \1초, 모두 불러온 뒤 스레드 하나의 프로세서 시간입니다. 메모리는 파일에서 "
        r"파일까지 처리할 때 그때보다 늘어난 최댓값입니다. RNNoise와 DeepFilterNet3는 48 kHz에서 "
        r"동작하므로 파일 처리 때는 그 속도로 변환했다가 되돌립니다.",
    ),
)


def in_korean(block: str) -> str:
    """A generated Markdown block with its known words in Korean; digits stay as they are."""
    return "\n".join(map(_line, block.splitlines()))


def _line(line: str) -> str:
    if not line.startswith("|"):
        return _text(line)
    cells = (cell.strip() for cell in line.strip("|").split("|"))
    return f"| {' | '.join(_WORDS.get(cell, _text(cell)) for cell in cells)} |"


def _text(text: str) -> str:
    for pattern, korean in _PATTERNS:
        text = re.sub(pattern, korean, text)
    return text
