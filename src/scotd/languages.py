"""The words by which an answer is stated, taken back, denied or joined to another: one table for all languages.

Read by `answers.parse`. To add a language, add an entry and a row to the table of shapes in the tests; entries are
alternations of regular expressions, without nested repetition, compared without regard to case.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Language:
    """Words of one language, each field an alternation of a regular expression; spaces in it match a line break too.

    A statement reads: lead? before* noun after? verb, then the claim. `taking_back` stands at a sentence's or clause's
    beginning. `prelude` may stand between statement and claim, `follow` may come right after a claim, `join` links two.
    """

    noun: str
    verb: str
    lead: str = ""
    before: str = ""
    after: str = ""
    weak_verb: str = ""
    not_verb: str = ""
    negation: str = ""
    phrase: str = ""  # a whole statement without the noun
    taking_back: str = ""
    prelude: str = ""
    follow: str = ""
    join: str = ""
    none: str = ""


LANGUAGES: dict[str, Language] = {
    "en": Language(
        noun="answers?|ans",
        verb="is|are|was",
        lead="so|thus|therefore|hence|then|finally|consequently|accordingly|in conclusion|in summary|as a result|"
        "this means(?: that)?",
        before="the|my|our|your|its|final|correct|right|best|only|most likely|most suitable|most appropriate",
        after="choice|option|(?:to|for) (?:this|the) question|here|in this case|"
        r"(?:choice )?among the (?:given |available )?(?:choices|options)|"
        r"that (?:best |most |logically )?(?:fits|matches|makes sense)(?: \w+){0,4}",
        weak_verb="must be|should be|would be|has to be|will be|seems to be|appears to be|can only be",
        not_verb="isn't|wasn't|aren't|cannot be|can't be|can not be|must not be|should not be|would not be",
        negation="not|never",
        phrase="(?:the )?(?:correct|right|best|most likely|most appropriate) (?:choice|option|one) is",
        taking_back="no(?=[,.!;: -])|wait(?=[,.!;:-])|hold on|actually|sorry|correction|i was (?:wrong|mistaken)|"
        "my mistake|i made a mistake|that(?: is|'s) (?:wrong|not right|incorrect|a mistake)|on second thought|"
        "let me (?:reconsider|correct|rethink|re-?check|re-?think)|scratch that|oops|i apologi[sz]e|or rather|"
        "rather(?=,)|instead(?=,)",
        prelude="the|an?|either|both|option|choice|letter|answer|number|likely|probably|definitely|clearly|therefore|thus|"
        "actually|indeed|simply|most likely|still|choice of",
        follow="because|since|as|for|which|due|given|but|so|and|or|rather|if",
        join="and|or|as well as",
        none="none|neither|nothing|no answer|no correct|unknown|n/a",
    ),
    "es": Language(
        noun="respuesta",
        verb="es|sería",
        lead="por lo tanto|por tanto|así que|entonces|luego",
        before="la|mi|correcta|mejor",
        after="correcta|final",
        negation="no",
        phrase="(?:la )?opción correcta es",
        taking_back="no, espera|espera|perdón|mejor dicho|corrección",
        prelude="el|la|opción|letra",
        follow="porque|ya que|pues|y|pero",
        join="y|o",
        none="ninguna|ninguno",
    ),
    "fr": Language(
        noun="réponse",
        verb="est|serait",
        lead="donc|ainsi|par conséquent|alors",
        before="la|ma|bonne|meilleure",
        after="correcte|finale",
        negation="pas|n'est pas",
        not_verb="n'est pas",
        taking_back="non, attends|attends|attendez|pardon|plutôt|en fait",
        prelude="l'option|option|le|la|lettre",
        follow="car|parce|et|mais",
        join="et|ou",
        none="aucune|aucun",
    ),
    "de": Language(
        noun="antwort|lösung",
        verb="ist|lautet|wäre",
        lead="also|daher|somit|deshalb|folglich",
        before="die|meine|richtige|korrekte|beste",
        negation="nicht",
        taking_back="nein(?=,)|moment|korrektur|doch nicht|halt(?=,)",
        prelude="die|der|das|option|antwort|buchstabe|also|daher|somit",
        follow="weil|denn|da|und|aber",
        join="und|oder",
        none="keine|keiner|keines",
    ),
    "it": Language(
        noun="risposta",
        verb="è",
        lead="quindi|dunque|perciò",
        before="la|mia",
        after="corretta|giusta|finale",
        negation="non",
        not_verb="non è",
        taking_back="no, aspetta|aspetta|scusa",
        prelude="la|il|l'opzione|opzione|lettera",
        follow="perché|poiché|e",
        join="e|o",
        none="nessuna|nessuno",
    ),
    "pt": Language(
        noun="resposta",
        verb="é|seria",
        lead="portanto|então|logo|assim",
        before="a|minha",
        after="correta|certa|final",
        not_verb="não é",
        taking_back="não, espere|espere|desculpe|aliás",
        prelude="a|o|opção|alternativa|letra",
        follow="porque|pois|e",
        join="e|ou",
        none="nenhuma|nenhum",
    ),
    "ru": Language(
        noun="ответ(?:ом)?",
        verb="это|является|будет",
        lead="поэтому|итак|следовательно|значит|таким образом",
        before="правильный|верный|мой|правильным",
        negation="не",
        not_verb="не",
        taking_back="нет(?=,)|подождите|точнее|вернее|ошиб",
        prelude="вариант|буква|это",
        follow="потому|так|и|но",
        join="и|или",
        none="ни один|никакой",
    ),
    "zh": Language(
        noun="答案|正解",
        verb="应该是|應該是|是|为|為|选择|選擇|选|選",
        lead="因此|所以|故|综上所述|綜上所述|那么",
        before="正确的?|正確的?|最终|最終|我的",
        after="应该|應該",
        not_verb="不是|不选|不為|不为",
        negation="不",
        phrase="(?:故|应|應|因此|所以)[选選](?:择|擇)?",
        taking_back="不对|不對|等等|等一下|更正|错了|錯了",
        prelude="选项|選項|选择|項|项",
        follow="因为|因為|选项|選項|和|或",
        join="和|或|与",
        none="以上都不|没有|沒有|都不",
    ),
    "ja": Language(
        noun="答え|正解|解答|回答",
        verb="は",
        lead="よって|したがって|だから|つまり",
        before="正しい|最終的な",
        taking_back="いや|待って|訂正",
        prelude="選択肢",
        follow="です|だ|である|なぜなら",
        join="と|または",
        none="どれでもない|なし",
    ),
    "ko": Language(
        noun="정답|답",
        verb="은|는",
        lead="따라서|그러므로|그래서",
        before="올바른|최종",
        taking_back="아니(?=,)|잠깐|정정",
        prelude="선택지",
        follow="입니다|이다|번",
        join="와|또는",
        none="없음|없습니다",
    ),
    "ar": Language(
        noun="الإجابة|الاجابة|الجواب|إجابة",
        verb="هي|هو",
        lead="لذلك|إذن|لذا|وبالتالي",
        after="الصحيحة|الصحيح|النهائية|النهائي",
        not_verb="ليست|ليس",
        taking_back="لا، انتظر|انتظر|عفوا|تصحيح",
        prelude="الخيار|الحرف",
        follow="لأن|و",
        join="و|أو",
        none="لا شيء",
    ),
}
