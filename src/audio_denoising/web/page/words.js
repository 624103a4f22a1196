/* Everything the page says, in English and in Korean. */

const WORDS = {
  en: {
    title: "Clean a recording",
    promise: "The noise goes, the voice stays. Nothing leaves this computer.",
    start: "Add recordings",
    choose: "Choose recordings",
    orDrop: "or drop them here",
    record: "Record",
    live: "Recording",
    heard: "heard",
    cleaned: "cleaned",
    monitor: "Hear it cleaned (wear headphones)",
    stop: "Stop",
    list: "Recordings",
    position: "Position",
    noisy: "Noisy",
    clean: "Clean",
    removed: "Removed",
    play: "Play",
    pause: "Pause",
    listen: "What to hear",
    matched: "same loudness",
    strength: "Strength",
    loop: "Loop",
    loopFrom: "Loop from here",
    loopTo: "to here",
    loopAll: "Whole recording",
    save: "Save WAV",
    saveSame: "Save {0}, by the server",
    saveResult: "Save",
    again: "Clean again at this strength",
    keys: "<kbd>Space</kbd> play · <kbd>1</kbd> <kbd>2</kbd> <kbd>3</kbd> switch · <kbd>←</kbd> <kbd>→</kbd> move · <kbd>[</kbd> <kbd>]</kbd> loop, <kbd>Esc</kbd> whole · <kbd>S</kbd> save. Or draw over the picture what is to be repeated.",
    model: "The network, {0}, computes in this browser. Close the page and nothing is left.",
    channels: "{0} · {1} Hz · {2} channels",
    channel: "{0} · {1} Hz · mono",
    of: "{0} of {1}",
    waiting: "waiting",
    reading: "reading",
    working: "{0} %",
    left: "{0} %, {1} left",
    atServer: "by the server, {0} %",
    ready: "clean",
    isReady: "{0} is clean.",
    remove: "Remove {0}",
    recordingName: "recording-{0}.wav",
    empty: "There is no sound in it: the file is empty.",
    notDecoded: "This browser cannot read it. Is it sound? The command denoise serve reads every format that FFmpeg reads.",
    tooLong: "It is too long for a browser (20 minutes of stereo, or an hour of speech in mono at 16 kHz, are the most). The command denoise serve cleans hours of sound.",
    failed: "It could not be cleaned: {0}",
    serverGone: "The server does not answer. Is denoise serve still running?",
    tooLarge: "It is larger than the server takes.",
    noPermission: "The browser was not allowed to use the microphone: allow it beside the address, and press Record again.",
    noMicrophone: "There is no microphone: connect one, and press Record again.",
    noRecording: "Recording is not possible here: {0}",
  },
  ko: {
    title: "녹음의 잡음 제거",
    promise: "잡음은 사라지고 목소리는 남습니다. 아무것도 이 컴퓨터를 떠나지 않습니다.",
    start: "녹음 추가",
    choose: "녹음 파일 선택",
    orDrop: "또는 여기에 끌어다 놓기",
    record: "녹음하기",
    live: "녹음 중",
    heard: "들어온 소리",
    cleaned: "제거 후",
    monitor: "잡음을 제거한 소리 듣기(헤드폰 사용)",
    stop: "멈추기",
    list: "녹음 목록",
    position: "재생 위치",
    noisy: "원본",
    clean: "제거 후",
    removed: "제거된 소리",
    play: "재생",
    pause: "일시 정지",
    listen: "들을 소리",
    matched: "같은 음량으로",
    strength: "강도",
    loop: "구간 반복",
    loopFrom: "여기부터 반복",
    loopTo: "여기까지",
    loopAll: "전체 재생",
    save: "WAV로 저장",
    saveSame: "{0} 형식으로 저장(서버)",
    saveResult: "저장",
    again: "이 강도로 다시 처리",
    keys: "<kbd>Space</kbd> 재생 · <kbd>1</kbd> <kbd>2</kbd> <kbd>3</kbd> 전환 · <kbd>←</kbd> <kbd>→</kbd> 이동 · <kbd>[</kbd> <kbd>]</kbd> 구간 반복, <kbd>Esc</kbd> 해제 · <kbd>S</kbd> 저장. 그림 위를 끌어 반복할 구간을 정할 수도 있습니다.",
    model: "신경망 {0}은(는) 이 브라우저 안에서 계산합니다. 페이지를 닫으면 아무것도 남지 않습니다.",
    channels: "{0} · {1} Hz · {2}채널",
    channel: "{0} · {1} Hz · 모노",
    of: "{1} 중 {0}",
    waiting: "대기 중",
    reading: "읽는 중",
    working: "{0}%",
    left: "{0}%, {1} 남음",
    atServer: "서버에서 처리 중, {0}%",
    ready: "완료",
    isReady: "{0}의 잡음을 제거했습니다.",
    remove: "{0} 지우기",
    recordingName: "녹음-{0}.wav",
    empty: "소리가 없습니다. 빈 파일입니다.",
    notDecoded: "이 브라우저가 읽을 수 없는 파일입니다. 소리 파일이 맞나요? denoise serve 명령은 FFmpeg가 읽는 모든 형식을 읽습니다.",
    tooLong: "브라우저에서 처리하기에는 너무 깁니다(최대 스테레오 20분, 16 kHz 모노 1시간). denoise serve 명령은 몇 시간 길이도 처리합니다.",
    failed: "처리하지 못했습니다: {0}",
    serverGone: "서버가 응답하지 않습니다. denoise serve가 실행 중인가요?",
    tooLarge: "서버가 받을 수 있는 크기를 넘습니다.",
    noPermission: "마이크 사용이 허용되지 않았습니다. 주소창 옆에서 허용한 뒤 녹음하기를 다시 누르세요.",
    noMicrophone: "마이크가 없습니다. 연결한 뒤 녹음하기를 다시 누르세요.",
    noRecording: "여기서는 녹음할 수 없습니다: {0}",
  },
};

let language = location.hash.slice(1) in WORDS
  ? location.hash.slice(1)
  : navigator.language.startsWith("ko") ? "ko" : "en";

/* A sentence by its name, with values in place of {0}, {1}; what is no name is a sentence already. */
export function word(name, ...values) {
  const sentence = WORDS[language][name] ?? name;
  return values.reduce((text, value, i) => text.replaceAll(`{${i}}`, () => value), sentence);
}

/* Says everything that stands in the page in the language of now. */
export function translate() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = word(element.dataset.word);
  }
  for (const element of document.querySelectorAll("[data-word-label]")) {
    element.setAttribute("aria-label", word(element.dataset.wordLabel));
  }
  for (const element of document.querySelectorAll("[data-word-html]")) {
    element.innerHTML = word(element.dataset.wordHtml); // of the table above, never of a file
  }
  const button = document.getElementById("language");
  [button.textContent, button.lang] = language === "ko" ? ["English", "en"] : ["한국어", "ko"];
}

export function otherLanguage() {
  language = language === "ko" ? "en" : "ko";
  history.replaceState(null, "", `#${language}`); // in the address, as nothing is kept elsewhere
  translate();
}
