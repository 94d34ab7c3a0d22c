"""Names that the rules of identifiers.py go by, between blanks: of people, of places, and what looks like one.

Left out: completeness; a rule that needs a name asks for more than the name.
"""

# Dr. Down's discovery is no identifier. Names that diseases, signs, tests and operations go by.
EPONYMS = """
    Addison Alport Alzheimer Apgar Asperger Babinski Barrett Bartter Basedow Behçet Bell Bloom Bowen Bright Broca
    Brugada Burkitt Chagas Charcot Crohn Cushing Dandy Down Dupuytren Ebstein Edwards Ehlers Eisenmenger Epstein
    Ewing Fabry Fallot Fanconi Fleming Fournier Freud Gaucher Gilbert Glasgow Goodpasture Graves Guillain Hansen
    Hashimoto Hirschsprung Hodgkin Horner Huntington Jenner Kaposi Kawasaki Klinefelter Koch Koplik Korsakoff
    Kussmaul Lister Lyme Mallory Marfan McArdle McBurney Ménière Meniere Minor Murphy Osler Paget Parkinson Pasteur
    Patau Peyronie Pick Pompe Pott Prader Raynaud Reiter Reye Rett Rorschach Salk Semmelweis Sjögren Snow Still Tay
    Tourette Turner Virchow Wegener Wernicke Whipple Wilms Wilson"""
FIRST_NAMES = """Alice Amy Andrew Anna Anne Anthony Barbara Brian Carol Charles Christopher Daniel David Deborah Donald
    Edward Elizabeth Emily Emma Eric George Helen James Jane Jason Jennifer Jessica John Joseph Karen Kevin Laura Linda
    Lisa Margaret Maria Mark Mary Matthew Michael Michelle Nancy Patricia Paul Peter Richard Robert Ronald Sandra Sarah
    Sharon Steven Susan Thomas Timothy William"""
SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱林郭罗郑梁谢宋唐许韩冯邓曹彭曾肖田董潘袁蔡蒋余杜叶程魏苏吕丁沈姚卢傅"
STATES = """Alabama Alaska Arizona Arkansas California Colorado Connecticut Delaware Florida Georgia Hawaii Idaho
    Illinois Indiana Iowa Kansas Kentucky Louisiana Maine Maryland Massachusetts Michigan Minnesota Mississippi Missouri
    Montana Nebraska Nevada Ohio Oklahoma Oregon Pennsylvania Tennessee Texas Utah Vermont Virginia Washington Wisconsin
    Wyoming Hampshire Jersey Mexico York Carolina Dakota"""
STATE_CODES = (
    r"A[KLRZ]|C[AOT]|DE|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]"
    r"|W[AIVY]"
)
MONTHS = "January February March April May June July August September October November December"
